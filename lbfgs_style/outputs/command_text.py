"""The command ``lbfgs-style transfer`` that repeats a run, as text for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.limits import Flag, Layers
from ..settings.option_fields import help_of, limits_of, option_name
from ..settings.options import Options
from .run_inputs import Inputs


def command_text(options: Options, inputs: Inputs, output: str) -> str | None:
    """Return the command that paints the same image into the file `output`.

    Returns
    -------
    str or None
        Words quoted for a POSIX shell; None where the command has no option for something, such as a field
        that only files of options have, or a preview.
    """
    if inputs.preview is not None:
        return None
    words = [inputs.content.path, *(style.image.path for style in inputs.styles), "-o", output]
    if any(word.startswith("-") and word not in ("-o", "-") for word in words):
        return None  # a file whose name would be read as an option
    of_options = _of_options(options)
    if of_options is None:
        return None
    return shlex.join(["lbfgs-style", "transfer", *words, *of_options, *_of_inputs(inputs)])


def _of_options(options: Options) -> list[str] | None:
    """Return the options that differ from the defaults or the preset; None where one cannot be typed."""
    base = Options.preset(options.loss)
    words = [] if options.loss == Options().loss else ["--preset", options.loss]
    for field in fields(Options):
        value, default = getattr(options, field.name), getattr(base, field.name)
        if value == default or field.name.endswith("_layer_weights"):
            continue
        if help_of(field).panel is None or value is None:
            return None
        option = option_name(field.name)
        limits = limits_of(field)
        if isinstance(limits, Flag):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(limits, Layers):
            words += [option, _layers(value, getattr(options, field.name.replace("layers", "layer_weights")))]
        else:
            words += [option, _list(value) if isinstance(value, tuple) else str(value)]
    return words


def _of_inputs(inputs: Inputs) -> list[str]:
    """Return the options that name masks, weights and scales of the styles, and the network."""
    words: list[str] = []
    styles = inputs.styles
    if len({style.weight for style in styles}) > 1:
        words += ["--style-blend", _list([style.weight for style in styles])]
    if any(style.scale != 1 for style in styles):
        words += ["--style-scale", _list([style.scale for style in styles])]
    if any(style.mask for style in styles):
        for style in styles:
            words += ["--style-mask", "rest" if style.mask is None else style.mask.path]
    if any(style.style_mask for style in styles):
        for style in styles:
            words += ["--painting-mask", "all" if style.style_mask is None else style.style_mask.path]
    files = {
        "--keep-mask": inputs.keep,
        "--content-map": inputs.content_map,
        "--face-mask": inputs.face_mask,
        "--init": inputs.init,
    }
    for option, file in files.items():
        if file is not None:
            words += [option, file if isinstance(file, str) else file.path]
    if inputs.network != DEFAULT_NETWORK:
        words += ["--network", inputs.network]
    return words


def _layers(names: Sequence[str], weights: Sequence[float] | None) -> str:
    """Return layers as the command reads them, with a backslash before its marks."""
    escaped = [re.sub(r"([\\,:|])", r"\\\1", name) for name in names]
    if weights is None:
        return ",".join(escaped)
    return ",".join(f"{name}:{weight}" for name, weight in zip(escaped, weights, strict=True))


def _list(values: Sequence[Any]) -> str:
    return ",".join(map(str, values))
