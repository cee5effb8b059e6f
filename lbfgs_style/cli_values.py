"""What all commands share: text of options → what the library takes, and the line on stderr."""

from __future__ import annotations

import typer

from .errors import OptionError


def say(text: str) -> None:
    """Write one line on stderr, under the program's name."""
    typer.echo(f"lbfgs-style: {text}", err=True)


def whole(option: str, text: str, expected: str = "a whole number") -> int:
    """Read a whole number, or raise OptionError."""
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"{option} must be {expected}, got {text!r}.") from None


def wholes(option: str, text: str, expected: str) -> tuple[int, ...]:
    """Read whole numbers between commas."""
    return tuple(whole(option, part, expected) for part in text.split(","))


def counts(option: str, text: str | None) -> int | tuple[int, ...] | None:
    """Read one number for all scales, or one for each."""
    if text is None:
        return None
    each = wholes(option, text, "a whole number, or one for each scale as in 200,100,50")
    return each[0] if len(each) == 1 else each


def names(text: str | None) -> tuple[str, ...] | None:
    """Read names between commas."""
    return None if text is None else tuple(part.strip() for part in text.split(","))
