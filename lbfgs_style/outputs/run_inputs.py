"""The inputs of a run in one structure: of paths, of fingerprints, or of loaded images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from .. import images
from ..images import Picture
from ..pipeline.checkpoints.checkpoint import Checkpoint
from ..pipeline.plan.schedule import ScalePlan
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_statistics import StyleStatistics, read_style
from ..pipeline.style_transfer import StyleTransfer
from ..pipeline.styles import Style
from .input_files import Origin, Source, source_of

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class StyleInput(Generic[T]):
    """A style of a run.

    Attributes
    ----------
    image : T
        The style image, or statistics of one.
    weight, scale : float
        As in `lbfgs_style.Style`.
    mask : T or None
        Where the style goes in the content image.
    style_mask : T or None
        Where the style image is measured.
    """

    image: T
    weight: float = 1.0
    scale: float = 1.0
    mask: T | None = None
    style_mask: T | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs(Generic[T]):
    """The inputs of a run.

    An input has a role: content, style, style-mask, painting-mask, keep-mask, content-map, face-mask, init or
    preview. The command ``rerun`` has an option of the same name for each.

    Attributes
    ----------
    content : T
        The content image.
    styles : tuple of StyleInput
        One or more.
    keep : T, "alpha" or None
        Where the content image is kept; ``"alpha"``: where it is transparent.
    content_map : T or None
        How much the content image holds, place by place.
    face_mask : T, "find" or None
        Where faces are; ``"find"``: where a detector finds them.
    init : T or None
        The initial image.
    preview : T or None
        An earlier result that the run continues.
    network : str
        Name or path of the network, as the user asked for it.
    """

    content: T
    styles: tuple[StyleInput[T], ...]
    keep: T | Literal["alpha"] | None = None
    content_map: T | None = None
    face_mask: T | Literal["find"] | None = None
    init: T | None = None
    preview: T | None = None
    network: str

    def map(self, function: Callable[[str, T], U]) -> RunInputs[U]:
        """Return the inputs with ``function(role, value)`` in place of each value."""

        def optional(role: str, value: T | None) -> U | None:
            return None if value is None else function(role, value)

        return RunInputs(
            content=function("content", self.content),
            styles=tuple(
                StyleInput(
                    image=function("style", style.image),
                    weight=style.weight,
                    scale=style.scale,
                    mask=optional("style-mask", style.mask),
                    style_mask=optional("painting-mask", style.style_mask),
                )
                for style in self.styles
            ),
            keep="alpha" if isinstance(self.keep, str) else optional("keep-mask", self.keep),
            content_map=optional("content-map", self.content_map),
            face_mask="find" if isinstance(self.face_mask, str) else optional("face-mask", self.face_mask),
            init=optional("init", self.init),
            preview=optional("preview", self.preview),
            network=self.network,
        )

    def __iter__(self) -> Iterator[tuple[str, T]]:
        """Yield the role and the value of each input: content, styles, masks, initial image."""
        yield "content", self.content
        for style in self.styles:
            yield "style", style.image
        for style in self.styles:
            if style.mask is not None:
                yield "style-mask", style.mask
        for style in self.styles:
            if style.style_mask is not None:
                yield "painting-mask", style.style_mask
        if self.keep is not None and not isinstance(self.keep, str):
            yield "keep-mask", self.keep
        if self.content_map is not None:
            yield "content-map", self.content_map
        if self.face_mask is not None and not isinstance(self.face_mask, str):
            yield "face-mask", self.face_mask
        if self.init is not None:
            yield "init", self.init
        if self.preview is not None:
            yield "preview", self.preview


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFile:
    """An input that was read: its file and what the file holds."""

    source: Source
    image: Picture | StyleStatistics

    @property
    def picture(self) -> Picture:
        """The image of an input that is not statistics of a style."""
        if isinstance(self.image, StyleStatistics):
            raise TypeError(f"{self.source.path} holds statistics, which have no pixels")
        return self.image


Inputs = RunInputs[Source]
LoadedInputs = RunInputs[LoadedFile]


def inputs_of(
    content: Origin,
    styles: Sequence[Origin],
    *,
    network: Path | str,
    style_masks: Sequence[Origin | None] = (),
    painting_masks: Sequence[Origin | None] = (),
    keep_mask: Origin | None = None,
    content_map: Origin | None = None,
    face_mask: Origin | None = None,
    init: Origin | None = None,
) -> Inputs:
    """Return the inputs of a run with the fingerprints of their files.

    Parameters
    ----------
    content, styles, init
        Files, or their fingerprints.
    network : path
        A name or a file.
    style_masks, painting_masks : sequence
        One for each style, None for a style without a mask; empty where no style has one.
    keep_mask
        A file, its fingerprint, or ``"alpha"``.
    content_map
        A file, or its fingerprint.
    face_mask
        A file, its fingerprint, or ``"find"``.

    Raises
    ------
    ImageFileError
        A file cannot be read.
    """

    def optional(origin: Origin | None) -> Source | None:
        return None if origin is None else source_of(origin)

    none = [None] * len(styles)
    columns = zip(styles, style_masks or none, painting_masks or none, strict=True)
    return RunInputs(
        content=source_of(content),
        styles=tuple(
            StyleInput(source_of(image), mask=optional(mask), style_mask=optional(part))
            for image, mask, part in columns
        ),
        keep="alpha" if keep_mask == "alpha" else optional(keep_mask),
        content_map=optional(content_map),
        face_mask="find" if face_mask == "find" else optional(face_mask),
        init=optional(init),
        network=str(network),
    )


def load(inputs: Inputs, max_pixels: int) -> LoadedInputs:
    """Read the files of a run."""
    return inputs.map(lambda role, source: load_file(role, source, max_pixels))


def load_file(role: str, source: Source, max_pixels: int) -> LoadedFile:
    """Read a file that has a role in a run."""
    read = read_style if role == "style" else images.read
    return LoadedFile(source, read(source.path, max_pixels=max_pixels))


def run(
    job: StyleTransfer,
    inputs: LoadedInputs,
    *,
    on_iterate: IterateCallback | None,
    cancel: threading.Event | None,
    checkpoint: Checkpoint | None = None,
) -> Result:
    """Run a job on loaded inputs, see `lbfgs_style.StyleTransfer.run`."""
    images_, more = arguments_of(inputs)
    return job.run(*images_, **more, on_iterate=on_iterate, cancel=cancel, checkpoint=checkpoint)


def plan(job: StyleTransfer, inputs: LoadedInputs) -> tuple[ScalePlan, ...]:
    """Plan a job on loaded inputs, see `lbfgs_style.StyleTransfer.plan`."""
    images_, more = arguments_of(inputs)
    return job.plan(*images_, **more)


def arguments_of(inputs: LoadedInputs) -> tuple[tuple[Any, list[Style]], dict[str, Any]]:
    """Return content and styles, and the other images, as `StyleTransfer.run` takes them."""
    loaded: RunInputs[Any] = inputs.map(lambda _, file: file.image)
    styles = [Style(s.image, s.weight, s.scale, s.mask, s.style_mask) for s in loaded.styles]
    names = ("init", "preview", "keep", "content_map", "face_mask")
    return (loaded.content, styles), {name: getattr(loaded, name) for name in names}


def to_json(inputs: Inputs, text_of: Callable[[Source], str]) -> dict[str, Any]:
    """Return a dictionary for JSON with a text for each input, in the keys of recipes and reports."""
    texts = inputs.map(lambda _, source: text_of(source))
    return {
        "content": texts.content,
        "styles": [style.image for style in texts.styles],
        "style_masks": [style.mask for style in texts.styles],
        "painting_masks": [style.style_mask for style in texts.styles],
        "keep_mask": texts.keep,
        "content_map": texts.content_map,
        "face_mask": texts.face_mask,
        "init": texts.init,
        "preview": texts.preview,
    }


def from_json(
    files: Mapping[str, Any],
    hashes: Mapping[str, Any],
    *,
    weights: Sequence[float],
    scales: Sequence[float],
) -> Inputs:
    """Return the inputs of a recipe.

    Parameters
    ----------
    files, hashes : mapping
        Paths and sha256 in the keys of `to_json`; `files` has ``network``, too.
    weights, scales : sequence of float
        One for each style.

    Raises
    ------
    KeyError, ValueError
        A key is missing, or the sequences have different lengths.
    """
    none = [None] * len(files["styles"])  # for recipes of versions that had no masks of style images

    def pairs(key: str) -> list[Source | None]:
        both = zip(files.get(key, none), hashes.get(key, none), strict=True)
        return [None if path is None else Source(str(path), str(sha256)) for path, sha256 in both]

    def optional(key: str) -> Source | None:
        # Recipes of versions before content maps and masks of faces have no such key.
        return None if files.get(key) is None else Source(str(files[key]), str(hashes[key]))

    images = [Source(str(p), str(h)) for p, h in zip(files["styles"], hashes["styles"], strict=True)]
    columns = zip(images, weights, scales, pairs("style_masks"), pairs("painting_masks"), strict=True)
    return RunInputs(
        content=Source(str(files["content"]), str(hashes["content"])),
        styles=tuple(StyleInput(*row) for row in columns),
        keep="alpha" if files["keep_mask"] == "alpha" else optional("keep_mask"),
        content_map=optional("content_map"),
        face_mask="find" if files.get("face_mask") == "find" else optional("face_mask"),
        init=optional("init"),
        preview=optional("preview"),
        network=str(files["network"]),
    )
