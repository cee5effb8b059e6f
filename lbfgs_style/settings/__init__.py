"""What a user may choose, and what the choices mean.

limits, loss_forms, option_fields, options, options_file, preset_hints, presets, validation
"""
