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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import layout, losses, winograd
from .autodiff import gradients
from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

IMAGE = "image"
Floating = type[np.floating]


@dataclass(frozen=True, slots=True)
class TermNames:
    """The terms of an objective: their layers and the names that the graphs use for them.

    Attributes
    ----------
    content_layers, style_layers : tuple of str
        Layers of the network, in the order of the weights.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each term, in the order of the inputs ``weights`` and the output ``terms``."""
        content = (f"content {layer}" for layer in self.content_layers)
        style = (f"style {layer}" for layer in self.style_layers)
        return (*content, *style, "tv", "range")

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers in use, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))


def features_name(layer: str) -> str:
    """Name of the tensor with a layer's features: output of the statistics, target of the objective."""
    return f"features_{layer}"


def gram_name(layer: str) -> str:
    """Name of the tensor with a layer's Gram matrix: output of the statistics, target of the objective."""
    return f"gram_{layer}"


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
        The layers whose features (content) and Gram matrices (style) are wanted.
    choose : function, optional
        Puts the graph into its form for the CPU, see `lbfgs_style.layout`: which convolutions take Winograd's
        form. None leaves it as it is.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` [1,3,H,W]; outputs ``features_<layer>`` [1,C,h,w] and ``gram_<layer>`` [C,C].
    """
    b = with_network(model, size, terms.layers)
    for layer in terms.content_layers:
        b.output(layer, features_name(layer))
    for layer in terms.style_layers:
        b.output(losses.gram(b, layer), gram_name(layer))
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


def objective_graph(
    model: onnx.ModelProto,
    size: tuple[int, int],
    terms: TermNames,
    *,
    tv_power: float = 2.0,
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
        Content and style layers.
    tv_power : float
        The exponent of the total variation.
    dtype : numpy floating type
        float32 to run; float64 to check gradients by the reference evaluator.
    choose : function, optional
        As in `statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,H,W], ``weights`` [K], ``features_<layer>`` and ``gram_<layer>`` (the targets);
        outputs ``loss`` [], ``terms`` [K] (unweighted, in the order of ``TermNames.names``), ``d_image``.

    Raises
    ------
    GraphError
        If the network has an operator that cannot be differentiated.
    """
    b = with_network(model, size, terms.layers, dtype)
    grams = {layer: losses.gram(b, layer) for layer in terms.style_layers}
    values: list[str] = []
    for layer in terms.content_layers:
        target = b.input(features_name(layer), b.shape(layer))
        values.append(losses.relative_distance(b, layer, target))
    for layer, matrix in grams.items():
        target = b.input(gram_name(layer), b.shape(matrix))
        values.append(losses.relative_distance(b, matrix, target))
    values.append(losses.total_variation(b, IMAGE, tv_power))
    values.append(losses.out_of_range(b, IMAGE))
    weights = b.input("weights", [len(values)])
    stacked = b.op("Concat", *(b.reshape(value, [1]) for value in values), attributes={"axis": 0})
    loss = b.reduce("ReduceSum", b.op("Mul", stacked, weights))
    b.output(loss, "loss")
    b.output(stacked, "terms")
    b.infer_shapes()
    b.output(_gradient_of_loss(b, loss, terms, grams), "d_image")
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


def _gradient_of_loss(b: GraphBuilder, loss: str, terms: TermNames, grams: dict[str, str]) -> str:
    """Differentiate the terms down to features and Gram matrices, then the network down to the picture."""
    one = b.constant(1.0)
    upper = gradients(b, {loss: one}, [IMAGE, *terms.content_layers, *grams.values()])
    seeds: dict[str, list[str]] = {}
    for layer in terms.content_layers:
        seeds.setdefault(layer, []).append(upper[layer])
    for layer, matrix in grams.items():
        seeds.setdefault(layer, []).append(losses.gram_cotangent(b, layer, upper[matrix]))
    through_network = gradients(b, {layer: b.total(parts) for layer, parts in seeds.items()}, [IMAGE])
    parts = [found[IMAGE] for found in (upper, through_network) if IMAGE in found]
    return b.total(parts)


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
    b = with_network(model, ("height", "width"), layers)
    seeds: dict[str, str] = {}
    for layer in layers:
        channels = b.shapes[layer][1]
        seeds[layer] = b.input(f"d_{layer}", [1, channels, f"height_{layer}", f"width_{layer}"])
    b.output(gradients(b, seeds, [IMAGE])[IMAGE], "d_image")
    return b.model()


def smallest_side(model: onnx.ModelProto, layers: Sequence[str]) -> int:
    """Return the shortest side, in pixels, that a picture must have for every layer to have a pixel.

    Backwards from one pixel of each layer: a window of k pixels that moves by s needs (n − 1)·s + k pixels,
    less the padding, for n. 16 for relu5_1 of VGG.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    needed: dict[str, int] = dict.fromkeys(layers, 1)
    for node in reversed(needed_nodes(model, layers)):
        least = max(needed.get(name, 1) for name in node.output)
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            given = {a.name: list(a.ints) for a in node.attribute}
            sides = constants[node.input[1]].dims[2:] if node.op_type == "Conv" else given["kernel_shape"]
            reach = max(given.get("dilations", [1])) * (max(sides) - 1) + 1
            least = (least - 1) * max(given.get("strides", [1])) + reach - _padding(given.get("pads", []))
        elif node.op_type == "Pad" and node.input[1] in constants:
            least -= _padding(numpy_helper.to_array(constants[node.input[1]]).tolist())
        for name in node.input:
            needed[name] = max(needed.get(name, 1), least)
    return needed[IMAGE]


def _padding(pads: Sequence[int]) -> int:
    """Return what padding adds at least to height and width; ONNX lists all fronts, then all ends."""
    half = len(pads) // 2
    return min((pads[half - axis] + pads[2 * half - axis] for axis in (1, 2) if half >= axis), default=0)


def feature_shapes(
    model: onnx.ModelProto, size: tuple[int, int], layers: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """Return channels, height and width of the features of each layer of a picture of `size`."""
    b = with_network(model, size, layers)
    shapes: dict[str, tuple[int, int, int]] = {}
    for layer in layers:
        _, channels, height, width = b.shape(layer)
        shapes[layer] = (channels, height, width)
    return shapes


def with_network(
    model: onnx.ModelProto,
    size: tuple[int | str, int | str],
    layers: Sequence[str],
    dtype: Floating = np.float32,
) -> GraphBuilder:
    """Start a graph with the part of a network that `layers` need."""
    from onnx import numpy_helper

    b = GraphBuilder(dtype)
    b.input(IMAGE, [1, 3, *size])
    nodes = needed_nodes(model, layers)
    read = {name for node in nodes for name in node.input}
    weights = (tensor for tensor in model.graph.initializer if tensor.name in read)
    b.extend(nodes, {tensor.name: numpy_helper.to_array(tensor) for tensor in weights})
    b.infer_shapes()
    return b


def needed_nodes(model: onnx.ModelProto, layers: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes of a network that `layers` depend on, in their order."""
    wanted, nodes = set(layers), []
    for node in reversed(model.graph.node):
        if any(name in wanted for name in node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]
