"""Limits of an option's values: check a value, and read one from the text of a command line.

Each class has ``check(name, value)``, which returns the value in Python's own type or raises OptionError,
``parameter``, the type that the command line reads by itself, and ``read(option, text)``, which turns what it
read into a value that ``check`` takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, get_args

import numpy as np

from ..errors import OptionError, did_you_mean
from ..system.byte_sizes import parse_bytes
from .validation import require_int, require_number, require_positive, require_weight


class Limits(Protocol):
    """The check of an option's values, and their reader."""

    @property
    def parameter(self) -> type:
        """Type that the command line reads: int, float, bool or str."""
        ...

    def check(self, name: str, value: object) -> Any:
        """Return the value in Python's own type, or raise OptionError."""
        ...

    def read(self, option: str, text: Any) -> Any:
        """Return the value that a text stands for; `option` is what errors call it."""
        ...


class _Typed:
    """Limits of an option that the command line reads by its type."""

    def read(self, option: str, text: Any) -> Any:
        return text


@dataclass(frozen=True, slots=True)
class Int(_Typed):
    """A whole number from `least` to `most`; `unit` is added to the limits in messages."""

    least: int
    most: int
    unit: str = ""
    parameter: ClassVar[type] = int

    def check(self, name: str, value: object) -> int:
        return require_int(name, value, self.least, self.most, self.unit)


@dataclass(frozen=True, slots=True)
class IntOrWord:
    """A whole number from `least` to `most`, or a word."""

    least: int
    most: int
    word: str
    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> int | str:
        if value == self.word:
            return self.word
        return require_int(name, value, self.least, self.most, f" or {self.word!r}")

    def read(self, option: str, text: str) -> int | str:
        return text if text == self.word else read_int(option, text, f"a whole number or {self.word!r}")


@dataclass(frozen=True, slots=True)
class IntPerScale:
    """A whole number from `least` to `most`, or a tuple with one for each scale."""

    least: int
    most: int
    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> int | tuple[int, ...]:
        otherwise = ", or a tuple (in TOML a list) with one for each scale"
        if isinstance(value, tuple) and value:
            return tuple(require_int(name, each, self.least, self.most, otherwise) for each in value)
        return require_int(name, value, self.least, self.most, otherwise)

    def read(self, option: str, text: str) -> int | tuple[int, ...]:
        each = read_ints(option, text, "a whole number, or one for each scale as in 200,100,50")
        return each[0] if len(each) == 1 else each


@dataclass(frozen=True, slots=True)
class SidesOrWord:
    """A tuple of image sides from `least` to `most` pixels that grow, or one of `words`."""

    least: int
    most: int
    words: tuple[str, ...]
    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> str | tuple[int, ...]:
        if isinstance(value, str) and value in self.words:
            return value
        if not isinstance(value, tuple) or not value:
            raise OptionError(
                f"{name} must be {self._words}or a tuple (in TOML a list) of longer sides such as "
                f"(256, 512), got {value!r}."
            )
        sides = tuple(require_int(f"each of the {name}", side, self.least, self.most) for side in value)
        if list(sides) != sorted(set(sides)):
            raise OptionError(f"{name} must grow from first to last, got {','.join(map(str, sides))}.")
        return sides

    def read(self, option: str, text: str) -> str | tuple[int, ...]:
        if text in self.words:
            return text
        return read_ints(option, text, f"{self._words}or whole numbers as in 256,512")

    @property
    def _words(self) -> str:
        return "".join(f"{word!r}, " for word in self.words[:-1]) + f"{self.words[-1]!r} "


@dataclass(frozen=True, slots=True)
class Weight(_Typed):
    """The weight of a loss term: a finite number, 0 or larger."""

    parameter: ClassVar[type] = float

    def check(self, name: str, value: object) -> float:
        return require_weight(name, value)


@dataclass(frozen=True, slots=True)
class Number(_Typed):
    """A number from `least` to `most`."""

    least: float
    most: float
    parameter: ClassVar[type] = float

    def check(self, name: str, value: object) -> float:
        return require_number(name, value, self.least, self.most)


@dataclass(frozen=True, slots=True)
class Positive(_Typed):
    """A finite number above 0."""

    parameter: ClassVar[type] = float

    def check(self, name: str, value: object) -> float:
        return require_positive(name, value)


@dataclass(frozen=True, slots=True)
class Flag(_Typed):
    """True or False; on the command line ``--name`` and ``--no-name``."""

    parameter: ClassVar[type] = bool

    def check(self, name: str, value: object) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise OptionError(f"{name} must be True or False (in TOML true or false), got {value!r}.")
        return bool(value)


# Synonym that a user may type → the choice that is meant.
_SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "l-bfgs": "lbfgs", "mean": "average", "avg": "average"}

# Choices that earlier versions had → what to use instead.
_REMOVED = {"laplacian": "decorrelated"}


@dataclass(frozen=True, slots=True)
class Choice(_Typed):
    """One of the words of a Literal; the word `numbered` may have a number, as in ``cuda:1``."""

    literal: Any
    numbered: str = ""
    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> str:
        choices: tuple[str, ...] = get_args(self.literal)
        if isinstance(value, str) and value in choices:
            return value
        if self.numbered and isinstance(value, str) and re.fullmatch(rf"{self.numbered}:[0-9]{{1,3}}", value):
            return value
        meant = _SYNONYMS.get(str(value).casefold().rstrip(":0123456789"))
        hint = did_you_mean(meant if meant in choices else str(value), choices)
        instead = _REMOVED.get(str(value))
        if instead in choices:
            hint = f" This version no longer has it: use {instead!r}."
        raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}.{hint}")


@dataclass(frozen=True, slots=True)
class Bytes:
    """An amount of memory in bytes, at least `least`; as a text with a unit, such as 2GB."""

    least: int
    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> int:
        if isinstance(value, str):
            value = parse_bytes(value, name)
        return require_int(name, value, self.least, 2**63 - 1, " (bytes), or a text such as '2GB'")

    def read(self, option: str, text: str) -> int:
        return parse_bytes(text, option)


@dataclass(frozen=True, slots=True)
class Layers(_Typed):
    """A tuple of layers of the network, none of them twice.

    The command line reads layers together with their weights and needs the network's names for that: see
    `lbfgs_style.cli.parsing.layers`.
    """

    parameter: ClassVar[type] = str

    def check(self, name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, tuple) or not value or not all(isinstance(item, str) for item in value):
            raise OptionError(
                f"{name} must be a tuple (in TOML a list) of layers such as ('relu1_1', 'relu3_1'), got "
                f"{value!r}."
            )
        if len(set(value)) < len(value):
            raise OptionError(f"{name} names a layer twice: {','.join(value)}.")
        return value


def read_int(option: str, text: str, expected: str = "a whole number") -> int:
    """Return the whole number that a text stands for, or raise OptionError."""
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"{option} must be {expected}, got {text!r}.") from None


def read_ints(option: str, text: str, expected: str) -> tuple[int, ...]:
    """Return the whole numbers between the commas of a text."""
    return tuple(read_int(option, part, expected) for part in text.split(","))
