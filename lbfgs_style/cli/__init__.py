"""The command ``lbfgs-style``.

- app: the subcommands, and the exit code of each error.
- transfer, batch, video, serve, rerun, measure_style, inspection, looks, networks, presets: the commands.
- painting, run, checkpoint: parameters that subcommands share, and what they write.
- parsing: parameters made from the fields of `Options`, and the values of what a user typed.
- files: reading inputs, writing outputs, protecting existing files.
- streams, progress, batch_progress, signals: standard streams, progress bars, Ctrl-C.
"""
