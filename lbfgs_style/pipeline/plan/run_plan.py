"""The plan of a run: its loss terms, its scales, and the method of each scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import ImageError, OptionError
from ...images import FloatImage, fit
from ...objective.engine import Engine
from ...objective.losses.terms import LossTerms
from ...objective.memory_costs import Costs
from ...settings.options import Options
from ...system.memory import available_memory
from ..inputs import RunImages
from .memory import ScaleMethod, blocks_bytes, choose_method, too_large
from .scales import AUTO, DRAFT, FROM_NOISE, Scale, plan, result_size

# Bytes that a run may take where the operating system does not tell what is left.
UNKNOWN_MEMORY = 4 * 10**9

# Fraction of the available memory that a run may take without --memory.
_SHARE = 0.8

# Factor by which the window shrinks where its blocks do not fit.
_SHRINK = 0.95


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes
    ----------
    terms : LossTerms
        The loss terms, with the number of regions.
    scales : tuple of Scale
        Coarse to fine.
    methods : tuple of ScaleMethod
        How each scale is optimised.
    """

    terms: LossTerms
    scales: tuple[Scale, ...]
    methods: tuple[ScaleMethod, ...]


def plan_run(
    engine: Engine,
    options: Options,
    terms: LossTerms,
    images: RunImages,
    *,
    has_initial_image: bool,
    preview: FloatImage | None = None,
) -> RunPlan:
    """Plan the scales of a run, and choose the method of each.

    An initial image is stretched to the shape of the content. The scales that ``"auto"`` adds would take its
    detail away, so they are left out. A preview, an earlier result, takes the place of the scales up to its
    own size.

    Raises
    ------
    ImageError
        The content or a style image is too small for the layers.
    OptionError
        A scale does not fit into the memory, or `options` do not fit the scales.
    """
    _check_sizes(engine, terms, images)
    size = result_size(images.content, options)
    engine.check_size(size, terms, what="content image")
    sides = () if options.scales == "single" else options.scales
    if has_initial_image and sides == "auto":
        sides = ()
    from_noise = options.init_noise == 1 or (options.init == "noise" and not has_initial_image)
    if options.fast and from_noise:
        raise OptionError("fast paints a draft from the content image: leave it out, or leave out the noise.")
    schedule = FROM_NOISE if from_noise else DRAFT if options.fast else AUTO
    least = engine.smallest_side(terms)
    if preview is not None:
        least = max(least, 1 + min(fit(size, _longest_preview(preview, size))))
    scales = plan(size, sides, options.iterations, least, schedule)
    regions = images.regions(size)
    terms = replace(
        terms,
        regions=len(regions.masks) if regions else 0,
        content_map=images.content_map is not None and bool(terms.content_layers),
        temporal=images.temporal is not None,
    )
    methods = choose_methods(engine, terms, options, scales, images.nbytes)
    return RunPlan(terms, scales, tuple(methods))


def _longest_preview(preview: FloatImage, size: tuple[int, int]) -> int:
    """Return the longer side of a preview, or raise OptionError where the result would not be larger."""
    longest = max(preview.shape[:2])
    if longest >= max(size):
        raise OptionError(
            f"The result of {size[1]}×{size[0]} pixels is not larger than the preview of "
            f"{preview.shape[1]}×{preview.shape[0]}: choose a larger size, or leave the preview out."
        )
    return longest


def memory_budget(options: Options) -> int:
    """Return the bytes that a run may take: the option, or most of what the machine has left."""
    if options.memory is not None:
        return options.memory
    left = available_memory()
    return UNKNOWN_MEMORY if left is None else int(_SHARE * left)


def longest_history(options: Options) -> int:
    """Return the most gradients that the optimizer keeps: 0 for first-order methods."""
    return options.history if options.optimizer == "lbfgs" else 0


def choose_methods(
    engine: Engine, terms: LossTerms, options: Options, scales: Sequence[Scale], sources: int
) -> list[ScaleMethod]:
    """Choose the method of each scale, see `memory.choose_method`.

    Parameters
    ----------
    engine : Engine
        Knows the network.
    terms : LossTerms
        The loss terms.
    options : Options
        Give the memory and the history.
    scales : sequence of Scale
        The scales of the run.
    sources : int
        Bytes of the images that were read.

    Raises
    ------
    OptionError
        A scale does not fit into the memory.
    """
    costs = engine.estimate_costs(terms, sources)
    budget = memory_budget(options)

    def method(scale: Scale) -> ScaleMethod:
        chosen = choose_method(scale.size, scale.iterations, longest_history(options), costs, budget)
        return with_actual_blocks(chosen, scale, engine, terms, costs, budget)

    # From the largest on: its need is the one to name where the memory is too small.
    return [method(scale) for scale in reversed(scales)][::-1]


def with_actual_blocks(
    method: ScaleMethod, scale: Scale, engine: Engine, terms: LossTerms, costs: Costs, budget: int
) -> ScaleMethod:
    """Return a method with the memory of its actual blocks, often smaller than the window allows.

    The blocks of a long image may be larger than that; the window then shrinks until they fit.
    """
    if method.kind != "blocks" or method.window_pixels is None:
        return method
    window = method.window_pixels
    while True:
        cuts = engine.plan_cuts(scale.size, terms, window)
        shapes = {(tile.rows.length, tile.columns.length) for tiles in cuts for tile in tiles}
        needed = max(
            blocks_bytes(scale.size, shape, scale.iterations, method.history, costs) for shape in shapes
        )
        if needed <= budget:
            return replace(method, window_pixels=window, bytes=needed)
        if window <= costs.smallest_window:
            raise too_large(scale.size, budget, needed)
        window = max(costs.smallest_window, int(_SHRINK * window))


def _check_sizes(engine: Engine, terms: LossTerms, images: RunImages) -> None:
    """Refuse images that only enlarging would make large enough: there is nothing in them to see."""
    style_terms = LossTerms((), terms.style_layers)
    height, width = images.content.rgb.shape[:2]
    named: Sequence[tuple[str, tuple[int, int], LossTerms]] = [
        ("content image", (height, width), terms),
        *(("style image", style.size, style_terms) for style in images.styles),
    ]
    for name, size, needed in named:
        least = engine.smallest_side(needed) if needed.layers else 1
        if min(size) < least:
            raise ImageError(
                f"The {name} is too small for the layers {', '.join(needed.layers)}: expected both sides "
                f"at least {least} pixels, got {size[1]}×{size[0]}; "
                "take a larger image or shallower layers."
            )
