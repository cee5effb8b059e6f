"""A run: inputs, scales from coarse to fine, results.

- style_transfer: the public `transfer` and `StyleTransfer`.
- inputs, styles, regions, initial_image: images and masks, checked, as the network sees them.
- coarse_to_fine, scale_run, targets, matching: the loop over the scales and one scale of it.
- results, run_result, run_log: what a run returns, and what it has done so far.
- recipe_document: settings, names and fingerprints of the inputs, as an image file keeps them.
- style_statistics, style_measuring: a style measured once and kept in a file.
- fingerprints: hashes of options and inputs, which a checkpoint compares on resume.
- plan: what a run will do. checkpoints: saving and resuming.

The room is not called `transfer`, because `lbfgs_style.transfer` is the public function.
"""
