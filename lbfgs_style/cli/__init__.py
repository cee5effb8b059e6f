"""The command ``lbfgs-style``.

app, checkpoint, files, inspection, measure_style, networks, parsing, presets, progress, rerun, run,
signals, streams, transfer
"""
