"""What a field of `Options` carries in its type, ``Annotated[type, limits, help]``, and text made of it."""

from __future__ import annotations

import textwrap
from dataclasses import Field, dataclass, fields
from typing import Any, get_args

from .limits import Limits

# Headings of the command's help, in their order.
PANELS = (
    *("Basics", "Style", "Content and masks", "Colour", "Optimisation", "Network and device", "Output"),
    *("Saving", "Video"),
)


@dataclass(frozen=True, slots=True)
class Help:
    """What an option does.

    Attributes
    ----------
    text : str
        For the command, the docstring and the docs.
    panel : str or None
        Heading of `PANELS`; None keeps the option out of the command.
    detail : str
        More, for the docstring alone.
    unset : str
        What happens where the value is None, as the command's help shows a default.
    """

    text: str
    panel: str | None = None
    detail: str = ""
    unset: str = ""


def limits_of(field: Field[Any]) -> Limits | None:
    """Return the limits of a field of `Options`; None where `Options` checks it together with others."""
    return get_args(field.type)[1]


def help_of(field: Field[Any]) -> Help:
    """Return the help of a field of `Options`."""
    return get_args(field.type)[2]


def option_name(field: str) -> str:
    """Return the option of a field of `Options`: ``--style-weight`` of ``style_weight``."""
    return f"--{field.replace('_', '-')}"


def is_optional(field: Field[Any]) -> bool:
    """Tell whether None is a value of a field."""
    return type(None) in get_args(get_args(field.type)[0])


def _type_text(annotation: Any) -> str:
    """Return a type as docstrings spell it: ``float or None``, ``{"auto", "cpu", "cuda"}``."""
    if annotation in (int, float, bool, str):
        return annotation.__name__
    if annotation is type(None):
        return "None"
    parts = get_args(annotation)
    if all(isinstance(part, str) for part in parts):
        words = ", ".join(f'"{part}"' for part in parts)
        return words if len(parts) == 1 else f"{{{words}}}"
    if parts[-1] is Ellipsis:
        return f"tuple of {parts[0].__name__}"
    return " or ".join(map(_type_text, parts))


def attributes_section(options: type[Any]) -> str:
    """Return the sections of a docstring that describe the fields of `options` and what raises."""
    indent = " " * 8
    lines = ["", "    Attributes", "    ----------"]
    for field in fields(options):
        about = help_of(field)
        lines.append(f"    {field.name} : {_type_text(get_args(field.type)[0])}, default {field.default!r}")
        lines += textwrap.wrap(
            f"{about.text} {about.detail}".strip(), 100, initial_indent=indent, subsequent_indent=indent
        )
    raises = [
        "",
        "    Raises",
        "    ------",
        "    OptionError",
        "        A value is outside its limits.",
        "    ",
    ]
    return "\n".join(lines + raises)
