"""Options as files hold them: TOML of a user's own, JSON of recipes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from .errors import OptionError, did_you_mean
from .options import Options

WEIGHTS = {"content_weight", "style_weight"}
"""What a strength stands for."""


def read_options(path: Path | str) -> Options:
    """Read options from a TOML file.

    Parameters
    ----------
    path : path
        A TOML file whose keys are the attributes of `Options`, with ``-`` or ``_``; lists stand for tuples.
        What is not there keeps its default.

    Raises
    ------
    OptionError
        The file is missing or no TOML, a key is unknown, or a value is outside what is allowed.
    """
    return with_values(Options(), read_values(path), source=str(path))


def read_values(path: Path | str) -> dict[str, Any]:
    """Read what a TOML file sets: attribute of `Options` → value. See `read_options`."""
    try:
        with Path(path).open("rb") as file:
            given = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read as options: {error.strerror or error}.") from error
    except ValueError as error:  # TOMLDecodeError, and UnicodeDecodeError
        raise OptionError(f"{path}: not a TOML file: {error}.") from error
    return checked_names(given, source=str(path))


def with_file(options: Options, path: Path | str, explicit: Iterable[str]) -> Options:
    """Return `options` with what a TOML file says, but for those in `explicit`: what was typed wins.

    A strength that was typed also wins over weights in the file, and the other way round.
    """
    kept = set(explicit)
    if "strength" in kept:
        kept |= WEIGHTS
    elif kept & WEIGHTS:
        kept.add("strength")
    values = {name: value for name, value in read_values(path).items() if name not in kept}
    return with_values(options, values, source=str(path))


def checked_names(given: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Turn keys into attributes of `Options` and lists into tuples; refuse a key that is none.

    Parameters
    ----------
    given : mapping
        Keys with ``-`` or ``_``.
    source : str
        What an error message calls the place it came from.
    """
    known = [field.name for field in fields(Options)]
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in known:
            raise OptionError(
                f"{source}: there is no option {key!r}; expected names such as size or content_weight."
                f"{did_you_mean(name, known)}"
            )
        if name in values:
            raise OptionError(f"{source}: {name} is given twice, with - and with _: keep one.")
        values[name] = tuple(cast(list[Any], value)) if isinstance(value, list) else value
    return values


def with_values(options: Options, values: Mapping[str, Any], *, source: str) -> Options:
    """Return `options` with some of them replaced; what is wrong with a value names its source."""
    try:
        return replace(options, **values)
    except OptionError as error:
        raise OptionError(f"{source}: {error}") from error
