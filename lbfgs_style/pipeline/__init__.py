"""A run: inputs, scales from coarse to fine, results.

coarse_to_fine, fingerprints, initial_image, inputs, regions, results, run_log, style_measuring,
style_statistics, style_transfer, styles; plan (scales, memory, schedule), checkpoints (saving and resuming)

The room is not called `transfer`, because `lbfgs_style.transfer` is the public function.
"""
