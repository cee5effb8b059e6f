"""One graph for one picture size: network, loss terms and gradient together.

Three graphs are made of a feature network:

- `statistics_graph`: what the targets are computed with, features and Gram matrices of a picture;
- `objective_graph`: picture, targets and weights → loss, each term's value, gradient for the picture;
- `gradient_graph`: picture and cotangents of layers → gradient for the picture, for free picture sizes and
  other programs.

Layers deeper than the deepest in use are cut away. Nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..graphs import cpu_layout, winograd
from ..graphs.autodiff import gradients
from ..graphs.builder import GraphBuilder
from ..graphs.network_graph import IMAGE, Floating, layer_shape, with_network
from .losses import assembly as terms_of_loss
from .losses import distances
from .losses.terms import TermNames, distance_name, features_name

if TYPE_CHECKING:
    import onnx


def statistics_graph(
    model: onnx.ModelProto, size: tuple[int, int], terms: TermNames, *, choose: winograd.Choose | None = None
) -> onnx.ModelProto:
    """Build the graph of the targets.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    size : (int, int)
        Height and width of the picture.
    terms : TermNames
        The layers whose features (content) and moments (style) are wanted.
    choose : function, optional
        Puts the graph into its form for the CPU, see `graphs.cpu_layout`: which convolutions take Winograd's
        form. None leaves it as it is.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` [1,3,H,W]; outputs ``features_<layer>`` [1,C,h,w], ``gram_<layer>`` [C,C] and, where
        the statistic has one, ``mean_<layer>`` [C,1].
    """
    graph = with_network(model, size, terms.layers)
    for layer in terms.content_layers:
        graph.output(layer, features_name(layer))
    masks = terms_of_loss.declare_masks(graph, terms)
    for name, tensor in terms_of_loss.style_moments(graph, terms, masks).items():
        graph.output(tensor, name)
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph.model()


def objective_graph(
    model: onnx.ModelProto,
    size: tuple[int, int],
    terms: TermNames,
    *,
    dtype: Floating = np.float32,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph of the loss and its gradient.

        L = Σ_k weights_k · term_k

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    size : (int, int)
        Height and width of the picture.
    terms : TermNames
        Content and style layers, and the form of the losses.
    dtype : numpy floating type
        float32 to run; float64 to check gradients by the reference evaluator.
    choose : function, optional
        As in `statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,H,W], ``weights`` [K], ``features_<layer>``, ``gram_<layer>`` and what else the
        statistic compares (the targets), with masks ``mask_<layer>_<region>`` [1,1,h,w] and ``shares`` [R];
        outputs ``loss`` [], ``terms`` [K] (unweighted, in the order of ``TermNames.names``), ``d_image``.

    Raises
    ------
    GraphError
        If the network has an operator that cannot be differentiated.
    """
    return objective_builder(model, size, terms, dtype=dtype, choose=choose).model()


def objective_builder(
    model: onnx.ModelProto,
    size: tuple[int, int],
    terms: TermNames,
    *,
    dtype: Floating = np.float32,
    choose: winograd.Choose | None = None,
) -> GraphBuilder:
    """Build `objective_graph`, not yet a model."""
    graph = with_network(model, size, terms.layers, dtype)
    targets, differences = terms_of_loss.content_differences(graph, terms)
    masks = terms_of_loss.declare_masks(graph, terms)
    pixels = terms_of_loss.pixel_sums(graph, terms, size)
    sums = terms_of_loss.style_moments(graph, terms, masks) | pixels
    for layer, difference in differences.items():
        sums[distance_name(layer)] = distances.sum_all(graph, "ReduceSumSquare", difference)
    energies = {
        layer: distances.sum_all(graph, "ReduceSumSquare", target) for layer, target in targets.items()
    }
    shapes = {layer: layer_shape(graph, layer) for layer in terms.layers}
    found = terms_of_loss.assess(graph, terms, sums, energies, shapes, size)
    graph.output(found.loss, "loss")
    graph.output(found.terms, "terms")
    graph.infer_shapes()
    slopes = found.slopes | terms_of_loss.by_sums(graph, terms, found.slopes, shapes)
    graph.output(terms_of_loss.picture_gradient(graph, terms, slopes, differences, masks, pixels), "d_image")
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph


def gradient_graph(model: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """Build the gradient of a network for free picture sizes.

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
        If the network has an operator that cannot be differentiated without knowing the picture's size.
    """
    graph = with_network(model, ("height", "width"), layers)
    seeds: dict[str, str] = {}
    for layer in layers:
        channels = graph.shapes[layer][1]
        seeds[layer] = graph.input(f"d_{layer}", [1, channels, f"height_{layer}", f"width_{layer}"])
    graph.output(gradients(graph, seeds, [IMAGE])[IMAGE], "d_image")
    return graph.model()
