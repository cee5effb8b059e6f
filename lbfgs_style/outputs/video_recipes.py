"""Recipes of videos: options and inputs in a JSON file, next to the film or in the folder of its frames."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError, ImageFileError, OptionError
from ..pipeline.style_transfer import StyleTransfer
from ..settings.video_options import VideoOptions
from ..system.files import atomic_write
from ..version import __version__
from ..video.clips import Clip, Part, open_clip
from ..video.films import FILM_FORMATS
from .input_files import Source
from .recipes import Recipe, document
from .run_inputs import Inputs

# Name of the recipe in a folder of frames.
_IN_FOLDER = "video.json"


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """What a video has besides the settings of a frame.

    Attributes
    ----------
    options : VideoOptions
        How frames are held together.
    part : Part
        Which frames are painted.
    rate : float or None
        Frames per second of a sequence of images, if the user says.

    Raises
    ------
    OptionError
        The rate is out of range.
    """

    options: VideoOptions
    part: Part
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not 0.01 <= self.rate <= 1000:
            raise OptionError(f"--rate must be frames per second, from 0.01 to 1000, got {self.rate:g}.")


def recipe_path(output: Path) -> Path:
    """Return the file of the recipe of a film, or of a folder of frames."""
    return output.with_name(f"{output.name}.json") if is_film(output) else output / _IN_FOLDER


def is_film(path: Path) -> bool:
    """Return whether a path is that of a film, by its extension."""
    return path.suffix.lower() in FILM_FORMATS


def video_document(
    job: StyleTransfer, inputs: Inputs, settings: VideoSettings, *, folder: Path | None
) -> dict[str, Any]:
    """Return the recipe of a video as a dictionary for JSON, with paths relative to a folder."""
    about = {
        "program": f"lbfgs-style {__version__}",
        "options": asdict(job.options),
        "style_weights": [style.weight for style in inputs.styles],
        "style_scales": [style.scale for style in inputs.styles],
        "network": {
            "name": job.network.name,
            "sha256": job.weights_sha256,
            "content_layers": list(job.terms.content_layers),
            "style_layers": list(job.terms.style_layers),
        },
    }
    end = settings.part.end
    of_video = {
        **asdict(settings.options),
        "start": settings.part.start,
        "end": None if math.isinf(end) else end,
        "every": settings.part.every,
        "rate": settings.rate,
    }
    return document(about, inputs, folder=folder) | {"video": of_video}


def write_recipe(path: Path, contents: Mapping[str, Any]) -> None:
    """Write the recipe of a video."""
    with atomic_write(path) as temporary:
        # Bytes of file names that are not UTF-8 are escaped.
        text = json.dumps(contents, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def settings_of(recipe: Recipe) -> VideoSettings:
    """Return the settings of the video of a recipe.

    Raises
    ------
    OptionError
        They are damaged, or out of range.
    """
    values = dict(recipe.video or {})
    try:
        end, rate = values.pop("end"), values.pop("rate")
        part = Part(values.pop("start"), math.inf if end is None else end, values.pop("every"))
        return VideoSettings(VideoOptions(**values), part, rate)
    except (KeyError, TypeError) as error:
        raise OptionError(f"{recipe.path}: the settings of its video are damaged ({error}).") from error


def locate_clip(recipe: Recipe, source: Source, moved_to: Path | str | None, rate: float | None) -> Clip:
    """Return the clip of a recipe, whose bytes must be those of the recorded run.

    Raises
    ------
    ImageFileError
        The clip is missing.
    ImageError
        The clip has changed.
    """
    paths = [recipe.path.parent / source.path, Path(source.path)]
    paths = paths if moved_to is None else [Path(moved_to)]
    clips: list[Clip] = []
    for path in paths:
        try:
            clips.append(open_clip(path, rate=rate))
        except ImageFileError:
            continue
    if not clips:
        raise ImageFileError(f"{paths[0]}: the clip of {recipe.path} is not there: name it with --content.")
    for clip in clips:
        if clip.fingerprint() == source.sha256:
            return clip
    raise ImageError(
        f"{clips[0].path}: has changed since {recipe.path} was made: name the original with --content, or "
        "run video for a new clip."
    )
