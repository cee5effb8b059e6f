"""Estimate the memory of an evaluation from its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GraphError
from ..graphs.builder import Rewrite
from ..graphs.network_graph import feature_shapes, needed_nodes
from ..graphs.peak_memory import peak_bytes
from ..graphs.receptive_fields import halo, receptive_fields, smallest_side
from .losses.terms import LossTerms, positions
from .whole_graphs import objective_builder

if TYPE_CHECKING:
    import onnx

# Side, in pixels, of the image whose graph is measured.
_SAMPLE_SIDE = 256


@dataclass(frozen=True, slots=True)
class Costs:
    """What the memory of a run depends on.

    Attributes
    ----------
    weights : int
        Bytes of the weights in use.
    per_pixel : float
        Bytes of the tensors of an evaluation, for each pixel of the image or window.
    targets : float
        Bytes of the targets of the feature and pixel terms and of the masks, for each pixel of the image.
    sources : int
        Bytes of the images that were read.
    halo : int
        Pixels that a window reaches beyond its tile or block, on each side.
    obstacle : str
        A sentence that says why the network cannot be evaluated in tiles or blocks; empty if it can.
    """

    weights: int
    per_pixel: float
    targets: float
    sources: int
    halo: int
    obstacle: str = ""

    @property
    def smallest_window(self) -> int:
        """Pixels of the smallest window: that of a tile as long as its halo."""
        return (3 * self.halo) ** 2


def estimate_costs(model: onnx.ModelProto, terms: LossTerms, rewrite: Rewrite, sources: int) -> Costs:
    """Estimate what the memory of a run depends on.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    terms : LossTerms
        The terms of the loss.
    rewrite : function
        Brings the graph into the form in which it runs.
    sources : int
        Bytes of the images that were read.
    """
    side = max(_SAMPLE_SIDE, 2 * smallest_side(model, terms.layers))
    read = {name for node in needed_nodes(model, terms.layers) for name in node.input}
    shapes = feature_shapes(model, (side, side), terms.layers)
    try:
        reach, obstacle = halo(list(receptive_fields(model, terms.layers).values())), ""
    except GraphError as error:  # matters only if the whole image does not fit into memory
        reach, obstacle = 0, str(error)
    features = sum(math.prod(shapes[layer]) for layer in terms.content_layers)
    # Beside the nearest neighbours, the features of the content and of the image that they are found for.
    features += 3 * sum(math.prod(shapes[layer]) for layer in terms.matched_layers)
    masked = [part for part in terms.style_parts if part.region is not None]
    masks = sum(positions(shapes[part.layer]) for part in masked) / side**2
    keep_mask = 1 if terms.regions else 0
    mapped = terms.content_layers if terms.content_map else ()
    masks += sum(positions(shapes[layer]) for layer in mapped) / side**2
    temporal = 4 if terms.temporal else 0  # three channels of a target, and its weight
    return Costs(
        weights=sum(len(t.raw_data) for t in model.graph.initializer if t.name in read),
        per_pixel=peak_bytes(objective_builder(model, (side, side), terms, rewrite=rewrite)) / side**2,
        targets=4 * (features / side**2 + masks + keep_mask + temporal),
        sources=sources,
        halo=reach,
        obstacle=obstacle,
    )
