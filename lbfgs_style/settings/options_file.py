"""Options in files: the TOML of a user, the JSON of a recipe."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from ..errors import OptionError, did_you_mean
from ..system.byte_sizes import parse_bytes
from ..system.files import read_file
from .options import Options

# Bytes of the largest options file.
_MOST_BYTES = 2**20

# Options that a strength replaces.
WEIGHTS = {"content_weight", "style_weight"}


def read_options(path: Path | str) -> Options:
    """Read options from a TOML file.

    Parameters
    ----------
    path : path
        A TOML file whose keys are the attributes of `Options`, with ``-`` or ``_``; lists stand for tuples.
        ``preset`` names the row to start from. What is not there keeps its default.

    Raises
    ------
    OptionError
        The file is missing or not valid TOML, a key is unknown, or a value is outside what is allowed.
    """
    return of_file(path)


def of_file(path: Path | str, *, preset: str | None = None, without: Iterable[str] = ()) -> Options:
    """Return the options of a preset, overridden by those of a TOML file.

    Parameters
    ----------
    path : path
        See `read_options`.
    preset : str, optional
        In place of the file's own.
    without : iterable of str
        Attributes that are going to be replaced: the file's are left out. A strength stands for both weights
        and a weight for the strength.
    """
    content = _read(path)
    named = content.pop("preset", "default")
    left_out = set(without)
    if "strength" in left_out:
        left_out |= WEIGHTS
    elif left_out & WEIGHTS:
        left_out.add("strength")
    values = checked_names(content, source=str(path))
    if isinstance(values.get("memory"), str):
        values["memory"] = parse_bytes(values["memory"], f"{path}: memory")
    try:
        base = Options.preset(named if preset is None else preset)
    except OptionError as error:
        raise OptionError(f"{path}: {error}" if preset is None else str(error)) from error
    kept = {name: value for name, value in values.items() if name not in left_out}
    return with_values(base, kept, source=str(path))


def _read(path: Path | str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path, most=_MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read as options: {error.strerror or error}.") from error
    except ValueError as error:  # TOMLDecodeError, and UnicodeDecodeError
        raise OptionError(f"{path}: not a TOML file: {error}.") from error
    except RecursionError as error:
        raise OptionError(f"{path}: lists nested too deeply; expected options and values.") from error


def checked_names(keys: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Turn keys into attributes of `Options` and lists into tuples; raise OptionError for unknown keys.

    Parameters
    ----------
    keys : mapping
        Names with ``-`` or ``_``, and values.
    source : str
        Name of their origin in messages.
    """
    known = [field.name for field in fields(Options)]
    values: dict[str, Any] = {}
    for key, value in keys.items():
        name = key.replace("-", "_")
        if name not in known:
            raise OptionError(
                f"{source}: there is no option {key!r} here; expected an attribute of Options, such as size "
                f"or content_weight.{did_you_mean(name, known)}"
            )
        if name in values:
            raise OptionError(f"{source}: {name} is given twice, with - and with _: keep one.")
        values[name] = tuple(cast(list[Any], value)) if isinstance(value, list) else value
    return values


def with_values(options: Options, values: Mapping[str, Any], *, source: str) -> Options:
    """Return `options` with some of them replaced; errors name `source`."""
    try:
        return replace(options, **values)
    except OptionError as error:
        raise OptionError(f"{source}: {error}") from error
