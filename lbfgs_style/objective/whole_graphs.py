"""The graphs of a whole image of one size: network, terms of the loss and gradient together.

Three graphs are made of a feature network:

- `statistics_graph`: image → the targets that it sets, features and moments;
- `objective_graph`: image, targets and weights → loss, terms, gradient of the image;
- `gradient_graph`: image and cotangents of layers → gradient of the image, for any image size and for other
  programs.

Layers deeper than the deepest in use are cut off. Nothing here runs a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..graphs.autodiff import gradients
from ..graphs.builder import GraphBuilder, Rewrite
from ..graphs.network_graph import IMAGE, Floating, layer_shape, with_network
from .losses import assembly, distances
from .losses.terms import LossTerms, features_name

if TYPE_CHECKING:
    import onnx


def statistics_graph(
    model: onnx.ModelProto, size: tuple[int, int], terms: LossTerms, *, rewrite: Rewrite | None = None
) -> onnx.ModelProto:
    """Build the graph of the targets.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    size : (int, int)
        Height and width of the image.
    terms : LossTerms
        The layers whose features (content) and moments (style) are computed.
    rewrite : function, optional
        Brings the graph into the form that the processor runs best, see `graphs.cpu_layout` and `native`.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` [1,3,H,W]; outputs ``features_<layer>`` [1,C,h,w], ``gram_<layer>`` [C,C] and, if the
        style statistic needs it, ``mean_<layer>`` [C,1].
    """
    graph = with_network(model, size, terms.layers)
    for layer in terms.content_layers:
        graph.output(layer, features_name(layer))
    masks = assembly.declare_masks(graph, terms)
    for name, tensor in assembly.style_moments(graph, terms, masks).items():
        graph.output(tensor, name)
    if rewrite is not None:
        rewrite(graph)
    return graph.model()


def objective_graph(
    model: onnx.ModelProto,
    size: tuple[int, int],
    terms: LossTerms,
    *,
    dtype: Floating = np.float32,
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """Build the graph of the loss and its gradient.

        L = Σ_k weights_k · term_k

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    size : (int, int)
        Height and width of the image.
    terms : LossTerms
        The terms of the loss.
    dtype : numpy floating type
        float32 to run; float64 to check gradients by the reference evaluator.
    rewrite : function, optional
        As in `statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,H,W], ``weights`` [K], the targets ``features_<layer>``, ``gram_<layer>`` and
        others that the style statistic needs, such as ``neighbours_<layer>``; with masks
        ``mask_<layer>_<region>`` [1,1,h,w] and ``region_weights`` [R]. Outputs ``loss`` [], ``terms`` [K]
        (unweighted, in the order of `LossTerms.names`), ``d_image``.

    Raises
    ------
    GraphError
        If the network has an operator that cannot be differentiated.
    """
    return objective_builder(model, size, terms, dtype=dtype, rewrite=rewrite).model()


def objective_builder(
    model: onnx.ModelProto,
    size: tuple[int, int],
    terms: LossTerms,
    *,
    dtype: Floating = np.float32,
    rewrite: Rewrite | None = None,
) -> GraphBuilder:
    """Build `objective_graph`, but return its builder."""
    graph = with_network(model, size, terms.layers, dtype)
    targets, differences = assembly.feature_differences(graph, terms)
    masks = assembly.declare_masks(graph, terms)
    pixels = assembly.pixel_sums(graph, terms, size)
    sums = assembly.style_moments(graph, terms, masks) | pixels
    for term, difference in differences.items():
        sums[term.distance] = distances.sum_all(graph, "ReduceSumSquare", difference)
    energies = {term: distances.sum_all(graph, "ReduceSumSquare", target) for term, target in targets.items()}
    shapes = {layer: layer_shape(graph, layer) for layer in terms.layers}
    nodes = assembly.add_loss(graph, terms, sums, energies, shapes, size)
    graph.output(nodes.loss, "loss")
    graph.output(nodes.terms, "terms")
    graph.infer_shapes()
    of_sums = assembly.derivatives_of_sums(graph, terms, nodes.derivatives, shapes)
    derivatives = nodes.derivatives | of_sums
    graph.output(assembly.image_gradient(graph, terms, derivatives, differences, masks, pixels), "d_image")
    if rewrite is not None:
        rewrite(graph)
    return graph


def gradient_graph(model: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """Build the graph of the gradient of a network, for any image size.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    layers : sequence of str
        The layers whose cotangents are inputs.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,height,width] and ``d_<layer>`` for each layer, of the layer's shape; output
        ``d_image`` = Σ_layers (∂layer/∂image)ᵀ d_layer.

    Raises
    ------
    GraphError
        If the network has an operator that cannot be differentiated for an unknown image size.
    """
    graph = with_network(model, ("height", "width"), layers)
    seeds: dict[str, str] = {}
    for layer in layers:
        channels = graph.shapes[layer][1]
        seeds[layer] = graph.input(f"d_{layer}", [1, channels, f"height_{layer}", f"width_{layer}"])
    graph.output(gradients(graph, seeds, [IMAGE])[IMAGE], "d_image")
    return graph.model()
