"""What a user may choose.

- options: `Options`, each option once, with its default, limits, help and panel.
- option_fields, limits, validation: what a field carries, and how values are checked and read.
- options_file: options in TOML files and recipes. video_options: how the frames of a video are held together.
- looks: named sets of options.
- presets, loss_forms, preset_hints: what other programs compute.
"""
