"""An HTML report of a run: images, loss curves, settings and timings in one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from ..images import FloatImage, Picture
from ..pipeline.plan.scales import ScaleResult
from ..pipeline.recipe_document import STANDARD_INPUT
from ..pipeline.results import Result
from ..settings.option_fields import help_of, option_name
from ..settings.options import Options
from .command_text import command_text
from .contact_sheet import jpeg
from .input_files import title as title_of
from .loss_curves import curves
from .run_inputs import LoadedInputs

# Pixels of the longer side of the images in the page: the result and what it is compared with, the inputs and
# the scales.
_LARGE, _SMALL = 1600, 512

_SLIDER = (
    '<label class="slide">result <input type="range" min="0" max="100" value="0" step="0.5" '
    'aria-label="share of the content image that is shown"> content</label>'
)
_COMMAND = '<div class="copy"><pre>{}</pre><button type="button">Copy</button></div>'


def page(
    result: Result,
    inputs: Sequence[tuple[str, FloatImage]],
    *,
    title: str = "lbfgs-style",
    files: Sequence[tuple[str, str]] = (),
    scales: Mapping[tuple[int, int], FloatImage] | None = None,
    command: str | None = None,
) -> str:
    """Return a self-contained page: images, curves and a short script embedded, nothing loaded.

    Parameters
    ----------
    result : Result
        The run.
    inputs : sequence of (str, array)
        Caption and image of each input, float32 H×W×3, RGB in [0, 1]; the content image, with which a slider
        compares the result, is the first.
    title : str
        Heading of the page.
    files : sequence of (str, str)
        Caption and fingerprint of each input file.
    scales : mapping, optional
        Height and width of a scale → the image that it ended with, see `recording.ScaleImages`.
    command : str, optional
        The command that repeats the run.
    """
    report = result.report()
    height, width = result.picture.rgb.shape[:2]
    provider = str(report["provider"]).removesuffix("ExecutionProvider")
    summary = (
        f"{width}×{height} pixels, network {report['network']['name']}, {result.evaluations} evaluations in "
        f"{result.seconds:.1f} s on {provider} with {report['operators']} operators; "
        f"{report['stop_explanation']}."
    )
    shown = _image(result.picture.rgb, "result", _LARGE)
    if inputs:
        caption, content = inputs[0]
        shown += _image(content, caption, _LARGE, attributes='class="before"')
    images = dict(scales or {}) | {(height, width): result.picture.rgb}
    template = Template(
        resources.files("lbfgs_style.outputs").joinpath("report_page.html").read_text("utf-8")
    )
    return template.substitute(
        title=escape(title),
        summary=escape(summary),
        ratio=f"{width / height:.4f}",
        result=shown,
        slider=_SLIDER if inputs else "",
        command="" if command is None else _COMMAND.format(escape(command)),
        inputs="".join(
            f"<figure>{_image(rgb, name, _SMALL)}<figcaption>{escape(name)}</figcaption></figure>"
            for name, rgb in inputs
        ),
        curves=curves(result),
        scales=_scales(result, images),
        settings=_settings(report),
        versions=_pairs([("program", report["program"]), *report["versions"].items()]),
        fingerprints=_pairs([("network", report["network"]["sha256"]), *files]),
    )


def page_of_files(
    result: Result,
    inputs: LoadedInputs,
    output: str,
    *,
    scales: Mapping[tuple[int, int], FloatImage] | None = None,
) -> str:
    """Return the `page` of a run whose inputs are files and whose result goes into the file `output`.

    Statistics of a style are named but not shown.
    """
    images: list[tuple[str, FloatImage]] = []
    files: list[tuple[str, str]] = []
    for role, file in inputs:
        path = file.source.path
        name = title_of(path) if path == STANDARD_INPUT else Path(path).name
        caption = f"{role.replace('-', ' ')}: {name}"
        files.append((caption, file.source.sha256))
        if isinstance(file.image, Picture):
            images.append((caption, file.image.rgb))
    styles = ", ".join(title_of(style.image.source.path) for style in inputs.styles)
    title = f"{title_of(inputs.content.source.path)} in the style of {styles}"
    named = {key: value for key, value in result.settings["options"].items() if value != "picture"}
    command = command_text(Options(**named), inputs.map(lambda _, file: file.source), output)
    return page(result, images, title=title, files=files, scales=scales, command=command)


def _image(rgb: FloatImage, name: str, longest: int, attributes: str = "") -> str:
    data = base64.b64encode(jpeg(rgb, longest=longest)).decode("ascii")
    return f'<img alt="{escape(name)}" {attributes} src="data:image/jpeg;base64,{data}">'


def _scales(result: Result, images: Mapping[tuple[int, int], FloatImage]) -> str:
    """Return a table with a column for each scale."""

    def image(scale: ScaleResult) -> str:
        rgb = images.get(scale.size)
        return "" if rgb is None else _image(rgb, f"{max(scale.size)} px", _SMALL)

    rows: dict[str, Callable[[ScaleResult], str]] = {
        "": image,
        "size": lambda scale: f"{scale.size[1]}×{scale.size[0]}",
        "iterations": lambda scale: str(scale.iterations),
        "evaluations": lambda scale: str(scale.evaluations),
        "seconds": lambda scale: f"{scale.seconds:.1f}",
        "s / evaluation": lambda scale: f"{scale.seconds / max(scale.evaluations, 1):.3f}",
        "loss, first": lambda scale: f"{scale.loss_start:.3g}",
        "loss, last": lambda scale: f"{scale.loss_end:.3g}",
        "style left": lambda scale: _mean("style", scale.terms_end),
        "content moved": lambda scale: _mean("content", scale.terms_end),
    }
    body = (
        f"<tr><th>{name}</th>" + "".join(f"<td>{text(scale)}</td>" for scale in result.scales) + "</tr>"
        for name, text in rows.items()
    )
    return f"<table>{''.join(body)}</table>"


def _mean(kind: str, terms: Mapping[str, float]) -> str:
    values = [value for name, value in terms.items() if name.startswith(f"{kind} ")]
    return f"{sum(values) / len(values):.3g}" if values else "–"


def _settings(report: Mapping[str, Any]) -> str:
    defaults = asdict(Options())
    from_files = {field.name for field in fields(Options) if help_of(field).panel is None}
    lines: list[str] = []
    for name, value in dict(report["options"]).items():
        changed = value != defaults[name]
        if value is None:  # chosen by the run
            value = "auto" if name == "iterations" else report["network"].get(name)
        mark = ' class="changed"' if changed else ""
        shown = name if name in from_files else option_name(name)
        lines.append(f"<div><dt>{escape(shown)}</dt><dd{mark}>{escape(_text(value))}</dd></div>")
    for option, name in (("--style-blend", "style_weights"), ("--style-scale", "style_scales")):
        lines.append(f"<div><dt>{option}</dt><dd>{escape(_text(report[name]))}</dd></div>")
    return "".join(lines)


def _pairs(values: Iterable[tuple[str, Any]]) -> str:
    return "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(_text(value))}</dd></div>" for key, value in values
    )


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
