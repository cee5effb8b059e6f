"""Requests of the API → inputs and options of a job, and the job painted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import images, networks
from ..errors import ImageError, OptimizationError, OptionError, did_you_mean
from ..images.input_limits import header
from ..optimization.lbfgs import STOP_REASONS
from ..outputs import run_inputs
from ..outputs.contact_sheet import jpeg
from ..outputs.input_files import Source, fingerprint
from ..outputs.recipes import recipe_text
from ..outputs.run_inputs import LoadedFile, RunInputs, StyleInput
from ..pipeline.results import Iterate
from ..pipeline.style_transfer import StyleTransfer
from ..settings.looks import look as look_of
from ..settings.options import Options
from ..settings.options_file import WEIGHTS, checked_names, with_values
from .jobs import Job, Painted, Upload

# Options that the server's own command sets, not a request.
OF_SERVER = ("device", "threads", "memory", "convolution")

# Files of a form → the most of each; `content` and one `style` are needed.
FILES = {
    "content": 1,
    "style": 8,
    "style_mask": 8,
    "keep_mask": 1,
    "content_map": 1,
    "face_mask": 1,
    "init": 1,
}

# Keys of the options of a request that are no fields of `Options`.
EXTRA = ("look", "style_blend", "style_scale")

# Pixels of the longer side of the content image to compare a result with.
_BEFORE_SIDE = 1280


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for.

    Attributes
    ----------
    max_bytes : int
        Bytes of a request.
    max_pixels : int
        Height × width of the images of a request together, before they are decoded.
    max_size : int
        Longer side of a result in pixels.
    """

    max_bytes: int = 2**26
    max_pixels: int = 50_000_000
    max_size: int = 4096


def check_uploads(uploads: Iterable[Upload], max_pixels: int) -> None:
    """Check by their first bytes that files are images, of no more pixels together than allowed.

    Raises
    ------
    ImageError
        One is none, or there are more pixels.
    """
    total = 0
    for upload in uploads:
        if not upload.data:
            raise ImageError(f"{upload.name}: the file is empty; expected an image.")
        _, (height, width) = header(upload.name, upload.data)
        total += height * width
        if total > max_pixels:
            raise ImageError(
                f"{upload.name}: {width}×{height} pixels make {total} in this request; expected at most "
                f"{max_pixels}: send smaller images."
            )


def inputs_of(
    files: Mapping[str, Sequence[Upload]], network: str, values: Mapping[str, Any], limits: Limits
) -> RunInputs[Upload]:
    """Return the inputs of a job.

    Parameters
    ----------
    files : mapping
        Key of `FILES` → the files of the form.
    network : str
        Of the server.
    values : mapping
        The options of the request.

    Raises
    ------
    OptionError, ImageFileError
        A file is missing, of an unknown name, too many, or no image; the weights or scales do not fit.
    """
    for name, uploads in files.items():
        if name not in FILES:
            raise OptionError(f"there is no file {name!r}.{did_you_mean(name, FILES)}")
        if len(uploads) > FILES[name]:
            raise OptionError(f"at most {FILES[name]} files {name!r} may be sent, got {len(uploads)}.")
    for name in ("content", "style"):
        if not files.get(name):
            raise OptionError(f"an image file {name!r} is needed: add it to the form.")
    check_uploads((upload for uploads in files.values() for upload in uploads), limits.max_pixels)
    styles = files["style"]
    masks = files.get("style_mask") or [None] * len(styles)
    if len(masks) != len(styles):
        raise OptionError(
            f"style_mask must be sent for each style or for none: expected {len(styles)}, got {len(masks)}."
        )
    stroke = look_of(str(values.get("look", "default"))).stroke_size
    weights = _per_style("style_blend", values.get("style_blend", 1.0), len(styles))
    scales = _per_style("style_scale", values.get("style_scale", stroke), len(styles))

    def one(name: str) -> Upload | None:
        return next(iter(files.get(name, ())), None)

    return RunInputs(
        content=files["content"][0],
        styles=tuple(StyleInput(*row) for row in zip(styles, weights, scales, masks, strict=True)),
        keep=one("keep_mask"),
        content_map=one("content_map"),
        face_mask=one("face_mask"),
        init=one("init"),
        network=network,
    )


def _per_style(name: str, value: Any, count: int) -> list[float]:
    """Return a number for each style."""
    values: list[Any] = list(value) if isinstance(value, list | tuple) else [value] * count
    numbers = [each for each in values if isinstance(each, int | float) and 0 < each < 1e6]
    if len(values) != count or len(numbers) != count:
        raise OptionError(f"{name} must be a number above 0, or {count} of them, got {value!r}.")
    return [float(number) for number in numbers]


def read_values(text: str) -> dict[str, Any]:
    """Read the options of a request, a JSON object.

    Raises
    ------
    OptionError
        It is none.
    """
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise OptionError(f"options must be a JSON object: {error}.") from error
    if not isinstance(values, dict):
        raise OptionError(f'options must be a JSON object such as {{"size": 512}}, got {text[:40]!r}.')
    return values


def options_of(
    values: Mapping[str, Any], server: Options, limits: Limits, base: Options | None = None
) -> Options:
    """Return the options of a job.

    Parameters
    ----------
    values : mapping
        What the request asks for: fields of `Options`, and those of `EXTRA`.
    server : Options
        Has device, threads, memory and convolution.
    base : Options, optional
        Options of an earlier job in place of the defaults.

    Raises
    ------
    OptionError
        A key is unknown or not the request's, or a value is outside what is allowed.
    """
    named = checked_names({key: value for key, value in values.items() if key not in EXTRA}, source="options")
    for name in OF_SERVER:
        if name in named:
            raise OptionError(f"options: {name} is set where the server is started: leave it out.")
    if "strength" in named and named.keys() & WEIGHTS:
        raise OptionError("options: strength stands for both weights: send one or the other.")
    if base is None:
        look = dict(look_of(str(values.get("look", "default"))).options)
        if named.keys() & WEIGHTS:
            look.pop("strength", None)
        base = replace(Options.preset(str(named.get("loss", "default"))), **look)
        if isinstance(base.size, int):
            base = replace(base, size=min(base.size, limits.max_size))
    elif named.keys() & {"strength"}:
        plain = Options.preset(base.loss)
        named = {name: getattr(plain, name) for name in WEIGHTS} | named
    of_server = {name: getattr(server, name) for name in OF_SERVER}
    options = with_values(base, named | of_server, source="options")
    if options.size == "full" or options.size > limits.max_size:
        raise OptionError(f"options: size must be at most {limits.max_size} here, got {options.size!r}.")
    return options


def painter_of(network: networks.FeatureNetwork, limits: Limits) -> Callable[..., Painted | None]:
    """Return a function for `jobs.Jobs` that paints with a network."""

    def paint(job: Job, on_iterate: Callable[[Iterate], None]) -> Painted | None:
        def load(role: str, upload: Upload) -> LoadedFile:
            source = Source(upload.name, fingerprint(upload.data))
            return LoadedFile(
                source, images.decode(upload.data, name=upload.name, max_pixels=limits.max_pixels)
            )

        loaded = job.inputs.map(load)
        job.change(before=jpeg(loaded.content.picture.rgb, longest=_BEFORE_SIDE))
        transfer = StyleTransfer(network, options=job.options, keep_sessions=False)
        result = run_inputs.run(transfer, loaded, on_iterate=on_iterate, cancel=job.cancel)
        if not result.history:
            if job.cancel.is_set():
                return None
            raise OptimizationError(f"{STOP_REASONS[result.stop_reason]}: choose other options.")
        recipe = recipe_text(
            result.settings, loaded.map(lambda _, file: file.source), quality=95, folder=Path()
        )
        return Painted(images.encode(result.picture, recipe=recipe), result)

    return paint


def again(
    job: Job, values: Mapping[str, Any], server: Options, limits: Limits
) -> tuple[RunInputs[Upload], Options]:
    """Return inputs and options of a job with changes; a larger one continues from the image of the first.

    Raises
    ------
    OptionError
        A change is not allowed, or is one of the styles.
    """
    for name in EXTRA:
        if name in values:
            raise OptionError(f"options: {name} cannot be changed here: send the images again.")
    options = options_of(values, server, limits, base=job.options)
    inputs = replace(job.inputs, preview=None)
    larger = (
        isinstance(options.size, int)
        and isinstance(job.options.size, int)
        and options.size > job.options.size
    )
    if larger and job.image is not None:
        inputs = replace(inputs, init=None, preview=Upload(f"lbfgs-style-{job.id}.png", job.image))
    return inputs, options
