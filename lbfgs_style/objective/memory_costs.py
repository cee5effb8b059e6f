"""What an evaluation with a network takes of memory, read off its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GraphError
from ..graphs import winograd
from ..graphs.network_graph import feature_shapes, needed_nodes
from ..graphs.peak_memory import peak_bytes
from ..graphs.receptive_fields import halo, receptive_fields, smallest_side
from .losses.terms import TermNames, positions
from .whole_graphs import objective_builder

if TYPE_CHECKING:
    import onnx

_SAMPLE = 256
"""Side, in pixels, of the picture whose graph tells the memory for each pixel."""


def costs_of(model: onnx.ModelProto, terms: TermNames, choose: winograd.Choose, sources: int) -> Costs:
    """Return what the memory of a run depends on.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    terms : TermNames
        The terms of the loss.
    choose : function
        Which convolutions are put into Winograd's form.
    sources : int
        Bytes of the pictures that were read.
    """
    side = max(_SAMPLE, 2 * smallest_side(model, terms.layers))
    read = {name for node in needed_nodes(model, terms.layers) for name in node.input}
    shapes = feature_shapes(model, (side, side), terms.layers)
    try:
        reach, obstacle = halo(list(receptive_fields(model, terms.layers).values())), ""
    except GraphError as error:  # parts are not needed where the memory is enough
        reach, obstacle = 0, str(error)
    content = sum(math.prod(shapes[layer]) for layer in terms.content_layers) / side**2
    masks = sum(positions(shapes[part.layer]) for part in terms.parts if part.region is not None) / side**2
    kept = 1 if terms.regions else 0
    return Costs(
        weights=sum(len(t.raw_data) for t in model.graph.initializer if t.name in read),
        per_pixel=peak_bytes(objective_builder(model, (side, side), terms, choose=choose)) / side**2,
        targets=4 * (content + masks + kept),
        sources=sources,
        halo=reach,
        obstacle=obstacle,
    )


@dataclass(frozen=True, slots=True)
class Costs:
    """What memory depends on.

    Attributes
    ----------
    weights : int
        Bytes of the weights in use.
    per_pixel : float
        Bytes of an evaluation's tensors, for each pixel of the picture or window.
    targets : float
        Bytes of the content's targets and of the masks, for each pixel of the picture.
    sources : int
        Bytes of the pictures that were read.
    halo : int
        Pixels that a window reaches beyond its tile or block, on each side.
    variables : int
        Of the optimiser, for each pixel.
    obstacle : str
        A sentence that says why the network cannot be worked on in tiles or blocks; empty where it can.
    """

    weights: int
    per_pixel: float
    targets: float
    sources: int
    halo: int
    variables: int = 3
    obstacle: str = ""

    @property
    def smallest_window(self) -> int:
        """Pixels of the smallest window: a tile as long as its halo."""
        return (3 * self.halo) ** 2
