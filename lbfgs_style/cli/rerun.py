"""The command ``lbfgs-style rerun``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import images, networks
from ..images import MAX_PIXELS, Picture
from ..outputs.input_files import Source
from ..outputs.recipes import Recipe, read_recipe
from ..outputs.recording import ScaleImages
from ..outputs.rerun import check_weights, locate_inputs, network_of, options_of, prepare
from ..outputs.video_recipes import is_film, locate_clip, recipe_path, settings_of
from ..pipeline.results import Iterate
from ..version import __version__
from ..video.clips import Clip
from ..video.video_transfer import VideoTransfer
from . import files, video
from .parsing import MaxPixels, Overwrite, Quiet, TileOutput, Typed, command_line
from .progress import show_log, show_progress
from .run import finish
from .signals import cancelled_by_signals
from .streams import capture_decoder_messages, print_message


@dataclass(frozen=True, slots=True)
class MovedInputs:
    """Where the inputs of a recipe are now, as the command line says it."""

    content: Annotated[
        Path | None,
        typer.Option(show_default="where the recipe says", help="Where the content image is now."),
    ] = None
    style: Annotated[
        list[Path] | None,
        typer.Option(
            show_default="where the recipe says", help="Where a style image is now; once for each, in order."
        ),
    ] = None
    style_mask: Annotated[
        list[Path] | None,
        typer.Option(
            show_default="where the recipe says",
            help="Where the mask of a style is now; once for each that has one, in order.",
        ),
    ] = None
    painting_mask: Annotated[
        list[Path] | None,
        typer.Option(
            show_default="where the recipe says",
            help="Where the mask of a style image is now; once for each that has one, in order.",
        ),
    ] = None
    keep_mask: Annotated[
        Path | None,
        typer.Option(
            show_default="where the recipe says",
            help="Where the mask of the kept part of the content image is now.",
        ),
    ] = None
    content_map: Annotated[
        Path | None, typer.Option(show_default="where the recipe says", help="Where the content map is now.")
    ] = None
    face_mask: Annotated[
        Path | None,
        typer.Option(show_default="where the recipe says", help="Where the mask of faces is now."),
    ] = None
    init: Annotated[
        Path | None,
        typer.Option(show_default="where the recipe says", help="Where the initial image is now."),
    ] = None
    preview: Annotated[
        Path | None,
        typer.Option(
            show_default="where the recipe says",
            help="Where the smaller image is now that this one continued.",
        ),
    ] = None
    network: Annotated[
        str | None, typer.Option(show_default="where the recipe says", help="Where the network is now.")
    ] = None

    @property
    def by_role(self) -> dict[str, list[Path]]:
        """Role → the files that were given for it."""
        files = {field.name.replace("_", "-"): getattr(self, field.name) for field in fields(self)}
        del files["network"]
        return {
            role: given if isinstance(given, list) else [given]
            for role, given in files.items()
            if given is not None
        }


@command_line(shown="the recipe's")
def rerun(
    picture: Annotated[
        Path,
        typer.Argument(
            help="PNG, JPEG or TIFF that `transfer` wrote, or its JSON report; or what `video` wrote.",
            metavar="IMAGE",
        ),
    ],
    moved: MovedInputs,
    typed: Typed,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Image to write, '-' for standard output.",
            show_default="IMAGE-rerun",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Report of options, losses and timings, .json or .html.")
    ] = None,
    from_preview: Annotated[
        bool | None,
        typer.Option(
            "--from-preview/--no-from-preview",
            help="Continue from IMAGE itself, at the sizes above its own, so that its composition stays.",
            show_default="where --size makes it larger",
        ),
    ] = None,
    tile_output: TileOutput = False,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Repeat a run from the recipe in its image file, with the options that are typed in place of its own.

    Without any, the image is the same.
    """
    changes = typed.values()
    if is_film(picture) or picture.is_dir():
        _rerun_video(read_recipe(recipe_path(picture)), picture, moved, changes, output, quiet=quiet)
        return
    with show_log(quiet=quiet, verbose=False):
        with capture_decoder_messages(f"an input of {picture}"):
            again = prepare(
                picture,
                moved=moved.by_role,
                network=moved.network,
                max_pixels=max_pixels,
                changes=changes,
                from_preview=from_preview,
            )
        suffix = picture.suffix if picture.suffix != ".json" else ".png"
        path = output or picture.with_name(f"{picture.stem}-rerun{suffix}")
        target = files.output(path, quality=again.recipe.quality, tiled=tile_output)
        sources = [Path(file.source.path) for _, file in again.inputs]
        protected = (picture, *sources, again.network_file)
        files.check_outputs(target, report, inputs=protected, overwrite=overwrite)
        current = f"lbfgs-style {__version__}"
        if again.recipe.program != current and not quiet:
            print_message(f"made by {again.recipe.program}, and this is {current}: the result may differ")
        scale_images = ScaleImages()
        with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=False) as show:

            def on_iterate(iterate: Iterate) -> object:
                if report is not None:
                    scale_images(iterate)
                return show(iterate)

            result = again.run(on_iterate=on_iterate, cancel=cancel)
        finish(result, target, report, again.inputs, recipe=True, quiet=quiet, scale_images=scale_images)
        if not quiet and not changes and target.path.suffix == picture.suffix:
            before, now = (images.read(path, max_pixels=max_pixels) for path in (picture, target.path))
            print_message(_comparison(before, now, picture))


def _rerun_video(
    recipe: Recipe,
    before: Path,
    moved: MovedInputs,
    changes: dict[str, Any],
    output: Path | None,
    *,
    quiet: bool,
) -> None:
    """Paint a clip again from its recipe."""
    settings, found = settings_of(recipe), list[Clip]()

    def locate(source: Source, moved_to: Path | str | None) -> Path:
        found.append(locate_clip(recipe, source, moved_to, settings.rate))
        return found[0].path

    located = locate_inputs(recipe, moved.by_role, content=locate)
    used = moved.network or network_of(recipe)
    loaded = networks.load(used)
    options = options_of(recipe, loaded, changes)
    transfer = VideoTransfer(loaded, options=options, video=settings.options)
    check_weights(recipe, transfer.job)
    paths = replace(located.map(lambda _, source: Path(source.path)), network=str(used))
    inputs = video.read_inputs(paths, found[0], settings.part, MAX_PIXELS)
    path = output or before.with_name(f"{before.stem}-rerun{before.suffix}")
    with show_log(quiet=quiet, verbose=False):
        parameters = video.FilmParameters(output=path)
        video.paint_clip(transfer, found[0], inputs, settings, parameters, quiet=quiet)
    if not quiet and not changes and before.is_file() and path.suffix == before.suffix:
        same = before.read_bytes() == path.read_bytes()
        print_message(f"the same as {before}, byte for byte" if same else f"differs from {before}")


def _comparison(before: Picture, now: Picture, path: Path) -> str:
    """Return a line that compares a result with the image that it repeats."""
    if before.rgb.shape != now.rgb.shape:
        return f"differs from {path} in size"
    difference = float(abs(before.rgb - now.rgb).mean())
    return (
        f"the same as {path}, pixel for pixel"
        if difference == 0
        else (f"differs from {path} by {255 * difference:.3g} of 255 levels on average")
    )
