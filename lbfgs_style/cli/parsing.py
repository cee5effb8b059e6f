"""Reads the text of options: what a user types → what the library takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Set
from typing import Annotated, Any, Literal

import typer

from ..errors import OptionError
from ..settings.options import Options
from ..system.byte_sizes import parse_bytes


def chosen(context: typer.Context) -> set[str]:
    """Return the names of the parameters that the user gave, as opposed to defaults."""
    given: set[str] = set()
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            given.add(name)
    return given


def check_use(given: Set[str], options: Options) -> None:
    """Raise OptionError where a parameter that the user gave has no effect beside the others."""
    if "learning_rate" in given and options.optimizer == "lbfgs":
        raise OptionError("--learning-rate is the step of adam and sgd: add --optimizer, or leave it out.")
    if "color_match" in given and options.preserve_color != "match":
        raise OptionError("--color-match says how colours are matched: add --preserve-color match.")


def whole(option: str, text: str, expected: str = "a whole number") -> int:
    """Read a whole number, or raise OptionError."""
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"{option} must be {expected}, got {text!r}.") from None


def wholes(option: str, text: str, expected: str) -> tuple[int, ...]:
    """Read whole numbers between commas."""
    return tuple(whole(option, part, expected) for part in text.split(","))


def longer_side(option: str, text: str) -> int | Literal["full"]:
    """Read a size in pixels, or the word for the photo's own."""
    return "full" if text == "full" else whole(option, text, "a whole number or 'full'")


def counts(option: str, text: str | None) -> int | tuple[int, ...] | None:
    """Read one number for all scales, or one for each."""
    if text is None:
        return None
    each = wholes(option, text, "a whole number, or one for each scale as in 200,100,50")
    return each[0] if len(each) == 1 else each


def scales_of(option: str, text: str) -> Any:
    """Read the longer sides to go through, or one of the words that `Options` knows for them."""
    if text in ("auto", "single"):
        return text
    return wholes(option, text, "'auto', 'single' or whole numbers as in 256,512")


def split(text: str, mark: str) -> list[str]:
    r"""Cut a text at a mark, but not behind a backslash: ``a\,b,c`` is ``a\,b`` and ``c``."""
    parts = [""]
    for piece in re.findall(r"\\.|.", text, re.DOTALL):
        if piece == mark:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _plain(part: str) -> str:
    """Take the backslashes before commas, colons, bars and backslashes out of a name."""
    return re.sub(r"\\([\\,:|])", r"\1", part)


def names(text: str | None) -> tuple[str, ...] | None:
    """Read names between commas."""
    return None if text is None else tuple(_plain(part.strip()) for part in split(text, ","))


def layers(
    option: str, text: str | None, known: Callable[[], Collection[str]] = tuple
) -> tuple[tuple[str, ...] | None, tuple[float, ...] | None]:
    """Read layers between commas, each with or without a weight as in relu1_1:2.

    Names may hold colons, as those of TensorFlow's tensors do: where all of ``block1/Relu:0`` is a layer, the
    number is no weight. A backslash before a colon says that it belongs to the name.

    Parameters
    ----------
    option : str
        What errors call it.
    text : str or None
        What was typed.
    known : function
        () → the layers of the network; called only where there is a colon that may be either. Without it
        every unescaped colon stands before a weight.

    Returns
    -------
    layers, weights : tuple or None
        None for weights where no layer has one; else 1 for those without.
    """
    if text is None:
        return None, None
    found = [_layer(option, part.strip(), text, known) for part in split(text, ",")]
    chosen = tuple(name for name, _ in found)
    if all(weight is None for _, weight in found):
        return chosen, None
    return chosen, tuple(1.0 if weight is None else weight for _, weight in found)


def _layer(
    option: str, part: str, text: str, known: Callable[[], Collection[str]]
) -> tuple[str, float | None]:
    """Read one layer, and its weight where it has one."""
    *head, tail = split(part, ":")
    if not head or _plain(part) in known():
        return _plain(part), None
    expected = (
        "layers such as relu1_1:2,relu3_1 with numbers after the colons, or with \\: for a colon in a name"
    )
    return _plain(":".join(head)), _number(option, tail, expected, text)


def numbers(option: str, text: str, example: str = "2,1") -> tuple[float, ...]:
    """Read numbers between commas."""
    return tuple(_number(option, part, f"numbers such as {example}", text) for part in text.split(","))


def _number(option: str, part: str, expected: str, text: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise OptionError(f"{option} must be {expected}, got {text!r}.") from None


def size_in_bytes(option: str, text: str) -> int:
    """Read an amount of memory such as 2GB."""
    return parse_bytes(text, option)


Network = Annotated[
    str, typer.Option(help="compact, vgg19, vgg16, vgg19-caffe, vgg16-caffe, or an .onnx file.")
]

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]

Threads = Annotated[int, typer.Option(help="CPU threads; 0 takes one for each physical core.")]

Overwrite = Annotated[
    bool,
    typer.Option("--overwrite/--no-overwrite", help="Replace an output that is there, or refuse to."),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

MaxPixels = Annotated[
    int,
    typer.Option(
        min=1,
        help="Largest height × width of a picture that is read; others are refused unpacked.",
        metavar="N",
    ),
]
