"""The result of a finished run, and the settings that describe it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import images
from ..images import FloatImage, Picture
from ..objective.engine import Engine
from ..objective.losses.terms import LossTerms
from ..settings.options import Options
from ..version import __version__, versions
from .coarse_to_fine import CoarseToFine
from .inputs import with_kept_hidden
from .results import Result


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run was made with.

    Attributes
    ----------
    options : Options
        Every setting.
    network, weights_sha256 : str
        Name of the network, and fingerprint of its weights.
    terms : LossTerms
        Terms of the loss that the options name.
    engine : Engine
        Evaluated the loss.
    """

    options: Options
    network: str
    weights_sha256: str
    terms: LossTerms
    engine: Engine


def finished_result(
    run: CoarseToFine,
    terms: LossTerms,
    rgb: FloatImage,
    picture: Picture,
    facts: RunFacts,
    inputs: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Result:
    """Return the result of a finished run.

    Parameters
    ----------
    run : CoarseToFine
        The run.
    terms : LossTerms
        Terms of its loss at the last scale.
    rgb : array, float32, H×W×3
        Its image in the colours of the network.
    picture : Picture
        The content image.
    facts : RunFacts
        What it was made with.
    inputs : (mapping, mapping)
        See `Result`.
    """
    restore = run.images.restore_colors
    result = with_kept_hidden(rgb if restore is None else restore(rgb), picture, run.images.keep)
    return Result(
        picture=images.with_rgb(picture, result),
        history=tuple(run.log.history),
        term_history=run.log.term_curves(terms),
        scales=tuple(run.log.results),
        evaluations=sum(scale.evaluations for scale in run.log.results),
        stop_reason=run.log.stop_reason,
        seconds=time.monotonic() - run.log.started,
        settings=_settings(run, (rgb.shape[0], rgb.shape[1]), facts, has_init=inputs[0]["init"] is not None),
        inputs=inputs,
    )


def _settings(run: CoarseToFine, size: tuple[int, int], facts: RunFacts, *, has_init: bool) -> dict[str, Any]:
    """Return `Result.settings`."""
    styles = run.images.styles
    return {
        "program": f"lbfgs-style {__version__}",
        "options": asdict(facts.options) | ({"init": "picture"} if has_init else {}),
        "style_weights": [style.weight for style in styles],
        "style_scales": [style.scale for style in styles],
        "masks": {
            "styles": [style.mask is not None for style in styles],
            "paintings": [style.style_mask is not None for style in styles],
            "keep": run.images.keep is not None,
            "content": run.images.content_map is not None,
        },
        "size": list(size),
        "network": {
            "name": facts.network,
            "sha256": facts.weights_sha256,
            "content_layers": list(facts.terms.content_layers),
            "style_layers": list(facts.terms.style_layers),
        },
        "provider": facts.engine.provider,
        "operators": facts.engine.operators,
        "resumed": run.log.resumed,
        "versions": versions(),
    }
