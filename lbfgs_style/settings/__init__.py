"""What a user may choose, and what the choices mean.

loss_forms, options, options_file, preset_hints, presets, validation
"""
