"""An HTML report of a run: images, loss curves, settings and timings in one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ..images import FloatImage, Picture
from ..pipeline.results import Result
from ..settings.options import Options
from .contact_sheet import jpeg
from .input_files import STANDARD_INPUT
from .input_files import title as title_of
from .loss_curves import curves
from .run_inputs import LoadedInputs

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #222; --soft: #667; --line: #dde; --ground: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --soft: #99a; --line: #334; --ground: #16161a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; font-weight: 600; margin: 0; }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .soft, figcaption { color: var(--soft); }
figure { margin: 0; } img { display: block; width: 100%; border-radius: 3px; }
.inputs { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1rem; }
.inputs img { height: 170px; width: auto; max-width: 100%; }
.result { margin-top: 1.2rem; } .result img { width: auto; max-width: 100%; margin: 0 auto; }
.result figcaption { text-align: center; }
.wide { overflow-x: auto; } svg { width: 100%; min-width: 600px; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); } .grid { stroke: var(--line); }
.scale { stroke: var(--soft); stroke-dasharray: 2 4; } path { fill: none; stroke-width: 1.5; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: right; padding: .25rem .6rem; font-weight: normal; }
tr { border-bottom: 1px solid var(--line); }
th { color: var(--soft); } td:first-child, th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 0 2rem; margin: 0; }
dl div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid var(--line);
  padding: .2rem 0; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
dl.full { grid-template-columns: 1fr; } dd.changed { font-weight: 600; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="soft">$summary</p>
<div class="inputs">$inputs</div>
<figure class="result">$result</figure>
<h2>Loss</h2>
<p class="soft">Each term without its weight, on a logarithmic scale; the dark line is their weighted sum.</p>
<div class="wide">$curves</div>
<h2>Scales and time</h2>
<div class="wide">$scales</div>
<h2>Settings</h2>
<p class="soft">Bold: not the default.</p>
<dl>$settings</dl>
<h2>Versions and fingerprints</h2>
<dl>$versions</dl>
<dl class="full">$fingerprints</dl>
</body>
</html>
""")


def page(
    result: Result,
    inputs: Sequence[tuple[str, FloatImage]],
    *,
    title: str = "lbfgs-style",
    files: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a self-contained page: no scripts, images and curves embedded.

    Parameters
    ----------
    result : Result
        The run.
    inputs : sequence of (str, array)
        Caption and image of each input, float32 H×W×3, RGB in [0, 1].
    title : str
        Heading of the page.
    files : sequence of (str, str)
        Caption and fingerprint of each input file.
    """
    report = result.report()
    height, width = result.picture.rgb.shape[:2]
    provider = str(report["provider"]).removesuffix("ExecutionProvider")
    summary = (
        f"{width}×{height} pixels, network {report['network']['name']}, {result.evaluations} evaluations in "
        f"{result.seconds:.1f} s on {provider} with {report['operators']} operators; "
        f"{report['stop_explanation']}."
    )
    return _PAGE.substitute(
        title=escape(title),
        summary=escape(summary),
        inputs="".join(
            f"<figure>{_image(rgb, name, 512)}<figcaption>{escape(name)}</figcaption></figure>"
            for name, rgb in inputs
        ),
        result=_image(result.picture.rgb, "result", 1600) + "<figcaption>result</figcaption>",
        curves=curves(result),
        scales=_scales(result),
        settings=_settings(report),
        versions=_pairs([("program", report["program"]), *report["versions"].items()]),
        fingerprints=_pairs([("network", report["network"]["sha256"]), *files]),
    )


def page_of_files(result: Result, inputs: LoadedInputs) -> str:
    """Return the `page` of a run whose inputs are files; statistics of a style are named but not shown."""
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
    return page(result, images, title=title, files=files)


def _image(rgb: FloatImage, name: str, longest: int) -> str:
    data = base64.b64encode(jpeg(rgb, longest=longest)).decode("ascii")
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{data}">'


def _scales(result: Result) -> str:
    head = (
        "size",
        "iterations",
        "evaluations",
        "seconds",
        "s / evaluation",
        "loss",
        "style left",
        "content moved",
    )
    rows: list[tuple[str, ...]] = []
    for scale in result.scales:
        rows.append(
            (
                f"{scale.size[1]}×{scale.size[0]}",
                str(scale.iterations),
                str(scale.evaluations),
                f"{scale.seconds:.1f}",
                f"{scale.seconds / max(scale.evaluations, 1):.3f}",
                f"{scale.loss_start:.3g} → {scale.loss_end:.3g}",
                _mean("style", scale.terms_end),
                _mean("content", scale.terms_end),
            )
        )
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{cell}</th>" for cell in head) + f"</tr>{body}</table>"


def _mean(kind: str, terms: Mapping[str, float]) -> str:
    values = [value for name, value in terms.items() if name.startswith(f"{kind} ")]
    return f"{sum(values) / len(values):.3g}" if values else "–"


def _settings(report: Mapping[str, Any]) -> str:
    defaults = asdict(Options())
    lines: list[str] = []
    for name, value in dict(report["options"]).items():
        changed = value != defaults[name]
        if value is None:  # chosen by the run
            value = "auto" if name == "iterations" else report["network"].get(name)
        mark = ' class="changed"' if changed else ""
        lines.append(f"<div><dt>{escape(name)}</dt><dd{mark}>{escape(_text(value))}</dd></div>")
    for name in ("style_weights", "style_scales"):
        lines.append(f"<div><dt>{name}</dt><dd>{escape(_text(report[name]))}</dd></div>")
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
