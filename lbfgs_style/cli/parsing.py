"""The command's parameters, made from the fields of `Options`, and the values of what a user typed."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import typer

from ..errors import OptionError
from ..networks.catalog import KNOWN
from ..settings.limits import Choice, Flag, Layers
from ..settings.option_fields import PANELS, help_of, limits_of, option_name
from ..settings.options import Options

FIELDS = {field.name: field for field in fields(Options)}

# Option of one letter → the field of `Options` that it stands for; -o, -q and -v are those of the command.
SHORT = {
    "size": "-s",
    "iterations": "-i",
    "strength": "-t",
    "style_weight": "-w",
    "content_weight": "-c",
    "fast": "-f",
    "memory": "-m",
    "device": "-d",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """The options of a command line as Typer parsed them, before the limits of `Options` are applied.

    Attributes
    ----------
    texts : mapping
        Name of an option that has a field in `Options` → what the user typed, or its default.
    explicit : set of str
        Names of all parameters that the user gave, as opposed to defaults.
    """

    texts: Mapping[str, Any]
    explicit: Set[str]

    def values(self, known_layers: Callable[[], Collection[str]] = tuple) -> dict[str, Any]:
        """Return the fields of `Options` that the user gave.

        Parameters
        ----------
        known_layers : function
            () → the layers of the network, see `layers`.
        """
        values: dict[str, Any] = {}
        for name in self.texts.keys() & self.explicit:
            limits, option, text = limits_of(FIELDS[name]), option_name(name), self.texts[name]
            if isinstance(limits, Layers):
                # Layers that are typed without weights replace the weights, too.
                weights = name.replace("layers", "layer_weights")
                values[name], values[weights] = layers(option, text, known_layers)
            else:
                values[name] = text if limits is None else limits.read(option, text)
        return values


Command = Callable[..., None]


def command_line(*names: str, defaults: Options = Options(), shown: str = "") -> Callable[[Command], Command]:
    """Return a decorator that makes a Typer command of a function whose parameters are groups of options.

    The function's parameter of the type `Typed` becomes a parameter for each of some fields of `Options`; one
    whose type is a dataclass becomes a parameter for each of its fields; others stay. All are sorted by the
    panels of the help. A parameter that the function has itself takes the place of the field's in `Options`.

    Parameters
    ----------
    *names : str
        Fields of `Options`; none for all that have a panel.
    defaults : Options
        The defaults to show.
    shown : str
        Text that the help shows in place of every default.
    """
    selected = names or tuple(name for name, field in FIELDS.items() if help_of(field).panel)

    def decorate(function: Command) -> Command:
        of_options = {name: _parameter(name, getattr(defaults, name), shown) for name in selected}
        declared, groups, typed = _declared(function, of_options)
        added = [name for name in selected if declared.get(name) is of_options[name]]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *sorted(declared.values(), key=_panel_number)]

        @functools.wraps(function)
        def command(context: typer.Context, **values: Any) -> None:
            texts = {name: values.pop(name) for name in added}
            for name, group in groups.items():
                values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
            if typed:
                sources = {name: context.get_parameter_source(name) for name in context.params}
                explicit = {name for name, source in sources.items() if source and source.name != "DEFAULT"}
                values[typed] = Typed(texts, explicit)
            function(**values)

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _declared(
    function: Command, of_options: Mapping[str, inspect.Parameter]
) -> tuple[dict[str, inspect.Parameter], dict[str, Any], str]:
    """Return the parameters that a function declares, those of its groups in their place.

    Parameters
    ----------
    function : function
        A command.
    of_options : mapping
        Name → parameter, in the place of the parameter of the type `Typed`.

    Returns
    -------
    parameters : dict
        Name → parameter.
    groups : dict
        Name of a parameter of the function → the dataclass of its type.
    typed : str
        Name of the parameter of the type `Typed`; empty where there is none.
    """
    parameters: dict[str, inspect.Parameter] = {}
    groups: dict[str, Any] = {}
    typed = ""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if kind is Typed:
            typed = name
            parameters |= {key: each for key, each in of_options.items() if key not in parameters}
        elif is_dataclass(kind):
            groups[name] = kind
            of_fields = get_type_hints(kind, include_extras=True)
            for field in fields(kind):
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                parameters[field.name] = _keyword(field.name, default, of_fields[field.name])
        else:
            parameters[name] = _keyword(name, parameter.default, kind)
    return parameters, groups, typed


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, default: Any, shown: str) -> inspect.Parameter:
    """Return the parameter of a field, as Typer reads it; the help has `shown` in place of its default."""
    limits, about = limits_of(FIELDS[name]), help_of(FIELDS[name])
    kind = str if limits is None else limits.parameter
    if kind is str and default is not None:
        default = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    option = option_name(name)
    short = SHORT.get(name)
    if isinstance(limits, Flag):
        names = [f"{short}/ " if short else "", f"{option}/--no-{option[2:]}"]
    else:
        names = [short or "", option]
    choices = get_args(limits.literal) if isinstance(limits, Choice) else ()
    info = typer.Option(
        *filter(None, names),
        help=about.text,
        show_default=shown or (about.unset if default is None else True),
        rich_help_panel=about.panel,
        metavar="|".join(choices) or None,
        autocompletion=completing(choices) if choices else None,
    )
    annotation = Annotated[kind | None if default is None else kind, info]
    return _keyword(name, default, annotation)


def completing(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function for Typer that completes one of `words` when TAB is pressed."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def _panel_number(parameter: inspect.Parameter) -> int:
    """Return the place of a parameter's panel in the help; parameters without a panel come first."""
    infos = getattr(parameter.annotation, "__metadata__", ())
    panels = [info.rich_help_panel for info in infos if getattr(info, "rich_help_panel", None) is not None]
    return PANELS.index(panels[0]) if panels else -1


def check_use(explicit: Set[str], options: Options) -> None:
    """Raise OptionError where an option that the user gave has no effect with the others."""
    if "learning_rate" in explicit and options.optimizer == "lbfgs":
        raise OptionError("--learning-rate is the step of adam and sgd: add --optimizer, or leave it out.")
    if "color_match" in explicit and options.preserve_color != "match":
        raise OptionError("--color-match says how colours are matched: add --preserve-color match.")


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
    pairs = [_layer(option, part.strip(), text, known) for part in split(text, ",")]
    chosen = tuple(name for name, _ in pairs)
    if all(weight is None for _, weight in pairs):
        return chosen, None
    return chosen, tuple(1.0 if weight is None else weight for _, weight in pairs)


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


# Parameters of several commands that are no fields of `Options`.

Network = Annotated[
    str,
    typer.Option(
        "--network",
        "-n",
        help="compact, vgg19, vgg16, vgg19-caffe, vgg16-caffe, squeezenet, or an .onnx file.",
        autocompletion=completing([row.name for row in KNOWN]),
        rich_help_panel="Network and device",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print scales, tiles, memory and time to expect, and stop.",
        rich_help_panel="Basics",
    ),
]
TileOutput = Annotated[
    bool,
    typer.Option(
        "--tile-output",
        help="Write the TIFF in tiles, as BigTIFF, which takes hardly any memory; above 100 megapixels every "
        "TIFF is written so.",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite/--no-overwrite",
        help="Replace an output that is there, or refuse to.",
        rich_help_panel="Output",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel="Output")
]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1,
        help="Largest height × width of an image that is read; larger ones are refused before decoding.",
        metavar="N",
        rich_help_panel="Output",
    ),
]
