"""Random networks of a few nodes: all operators with a rule, joined, branched, padded, cropped, reduced."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from lbfgs_style.networks.network import FeatureNetwork
from tests.helpers.own_networks import network, node, weights

ENDLESS = 2**31 - 1
"""The stop of a Slice that goes to the end of an axis."""


@dataclass(frozen=True)
class Map:
    """Features of a network that is being drawn."""

    name: str
    channels: int
    # Key of the height and width, made of the operations that changed them: equal keys have equal sizes.
    size: str = ""


@dataclass
class Draft:
    """A network that is being drawn.

    Attributes
    ----------
    rng : random.Random
        The source of all choices.
    nodes, constants, maps : list, dict, list
        The network so far.
    """

    rng: random.Random
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, object] = field(default_factory=dict)
    maps: list[Map] = field(default_factory=list)

    def constant(self, value: object) -> str:
        """Add a constant; lists become int64."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def number(self, value: float, *shape: int) -> str:
        """Add a float32 constant of one value."""
        return self.constant(np.full(shape, value, np.float32))

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """Add a node and return its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(node(op_type, " ".join(inputs), name, **attributes))
        return name

    def kernel(self, outputs: int, inputs: int, sides: tuple[int, int]) -> str:
        """Return a kernel, sometimes one that another convolution has."""
        shape = (outputs, inputs, *sides)
        shared = [
            name
            for name, value in self.constants.items()
            if isinstance(value, np.ndarray) and value.shape == shape
        ]
        if shared and self.rng.random() < 0.5:
            return self.rng.choice(shared)
        return self.constant(weights(*shape, seed=self.rng.randrange(10**6)))


def pointwise(d: Draft, x: Map) -> Map:
    """Append a pointwise operator."""
    kind = d.rng.choice(
        ["Relu", "Abs", "Identity", "Sqrt", "Pow", "Mul", "Add", "Sub", "Div", "reduce", "noop"]
    )
    name = x.name
    if kind in ("Relu", "Abs", "Identity"):
        name = d.node(kind, name)
    elif kind == "Sqrt":
        name = d.node("Sqrt", d.node("Relu", name))
    elif kind == "Pow":
        power = d.rng.choice([0.5, 1.0, 1.5, 2.0, 3.0])
        name = d.node("Pow", d.node("Relu", name), d.number(power))
    elif kind == "Mul":
        name = d.node("Mul", name, d.number(0.75, *d.rng.choice([(), (1,), (x.channels, 1, 1)])))
    elif kind == "Add":
        name = d.node("Add", d.number(0.25, *d.rng.choice([(), (1, x.channels, 1, 1)])), name)
    elif kind == "Sub":
        name = d.node("Sub", d.number(1), name)
    elif kind == "Div":
        name = d.node("Div", name, d.node("Add", d.node("Abs", name), d.number(0.5)))
    elif kind == "reduce":
        op_type = d.rng.choice(["ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
        axis = d.constant([d.rng.choice([1, -3])])
        gate = d.node("Add", d.node(op_type, name, axis), d.number(1))
        name = d.node("Div", name, gate) if op_type != "ReduceSum" else d.node("Mul", name, gate)
    else:
        name = d.node(d.rng.choice(["ReduceMean", "ReduceSum"]), name, noop_with_empty_axes=1)
    return Map(name, x.channels, x.size)


ACTIVATIONS = {
    **{name: {} for name in ("Elu", "HardSwish", "LeakyRelu", "Mish", "Neg", "Selu", "Sigmoid", "Softplus")},
    **{name: {} for name in ("Tanh", "HardSigmoid", "PRelu", "Clip", "Max", "Min", "Where")},
    "Softmax": {"axis": 1},
}
"""Activation → its attributes."""


def activation(d: Draft, x: Map) -> Map:
    """Append an activation; some have constants. ONNX's evaluator computes Erf in float32."""
    kind = d.rng.choice(list(ACTIVATIONS))
    more: dict[str, list[str]] = {
        "PRelu": [d.number(0.2, *d.rng.choice([(), (x.channels, 1, 1)]))],
        "Clip": [d.number(-0.5), d.rng.choice([d.number(0.75), ""])],
        "Max": [d.number(0.1)],
        "Min": [d.number(0.6, x.channels, 1, 1)],
    }
    if kind == "Where":
        chosen = d.constant(np.arange(x.channels).reshape(1, -1, 1, 1) % 2 == 0)
        return Map(d.node("Where", chosen, x.name, d.node("Neg", x.name)), x.channels, x.size)
    return Map(d.node(kind, x.name, *more.get(kind, []), **ACTIVATIONS[kind]), x.channels, x.size)


def normalization(d: Draft, x: Map) -> Map:
    """Append a normalization by constant statistics. ONNX's evaluator computes LRN wrongly."""
    values = [
        d.constant(np.linspace(low, 1.2, x.channels, dtype=np.float32)) for low in (0.5, -0.2, -0.1, 0.4)
    ]
    return Map(d.node("BatchNormalization", x.name, *values), x.channels, x.size)


def strided(d: Draft, x: Map) -> Map:
    """Append a convolution of stride 2, with the padding of one of the frameworks."""
    form = d.rng.choice(
        [
            {"pads": [1, 1, 1, 1]},
            {"pads": [0, 0, 1, 1]},
            {"auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_LOWER"},
            {"pads": [1, 1, 0, 0], "dilations": [1, 1]},
        ]
    )
    name = d.node("Conv", x.name, d.kernel(8, x.channels, (3, 3)), strides=[2, 2], **form)
    return Map(name, 8, f"{x.size}strided{sorted(form.items())}")


def enlarged(d: Draft, x: Map) -> Map:
    """Append an operator that makes more positions, which sees an unknown place of the image."""
    kind = d.rng.choice(["Resize", "ConvTranspose", "DepthToSpace", "SpaceToDepth"])
    size = f"{x.size}double"
    if kind == "ConvTranspose":
        side = d.rng.choice([2, 4])
        kernel = d.constant(weights(x.channels, 4, side, side, seed=3))
        pads = [(side - 2) // 2] * 4
        return Map(d.node(kind, x.name, kernel, strides=[2, 2], pads=pads), 4, size)
    if kind == "Resize" or x.channels % 4:
        mode = d.rng.choice(["nearest", "linear"])
        scales = d.constant(np.float32([1, 1, 2, 2]))
        place = d.rng.choice(["half_pixel", "asymmetric"])
        name = d.node("Resize", x.name, "-", scales, mode=mode, coordinate_transformation_mode=place)
        return Map(name, x.channels, size)
    form = {"mode": d.rng.choice(["DCR", "CRD"])} if kind == "DepthToSpace" else {}
    larger = Map(d.node("DepthToSpace", x.name, blocksize=2, **form), x.channels // 4, size)
    if kind == "DepthToSpace":
        return larger
    d.maps.append(larger)
    return Map(d.node("SpaceToDepth", larger.name, blocksize=2), x.channels, x.size)


def channels(d: Draft, x: Map) -> Map:
    """Append a Slice, a Gather or a Split of the channels, or a Transpose that changes nothing."""
    if d.rng.random() < 0.3 and x.channels % 2 == 0:
        order = list(range(x.channels))
        d.rng.shuffle(order)
        return Map(d.node("Gather", x.name, d.constant(order), axis=1), x.channels, x.size)
    if d.rng.random() < 0.3 and x.channels % 2 == 0:
        halves = [f"h{len(d.nodes)}_{i}" for i in range(2)]
        d.nodes.append(helper.make_node("Split", [x.name], halves, axis=1, num_outputs=2))
        return Map(d.node("Add", *halves), x.channels // 2, x.size)
    if d.rng.random() < 0.3 or x.channels < 4:
        return Map(d.node("Transpose", x.name, perm=[0, 1, 2, 3]), x.channels, x.size)
    bounds = (d.constant([value]) for value in (1, d.rng.choice([-1, x.channels]), d.rng.choice([1, -3])))
    start, stop, axis = bounds
    kept = x.channels - (2 if d.constants[stop] == [-1] else 1)
    return Map(d.node("Slice", x.name, start, stop, axis), kept, x.size)


def joined(d: Draft, x: Map) -> Map:
    """Join with features of the same size: a skip or a branch."""
    others = [other for other in d.maps if other.size == x.size and other.channels == x.channels]
    other = d.rng.choice(others)
    kind = d.rng.choice(["Add", "Sub", "Mul", "Concat"])
    if kind == "Concat":
        return Map(d.node("Concat", x.name, other.name, axis=d.rng.choice([1, -3])), 2 * x.channels, x.size)
    return Map(d.node(kind, x.name, other.name), x.channels, x.size)


def convolution(d: Draft, x: Map, kinds: int | None = None) -> Map:
    """Append a convolution of one of the first `kinds` forms, or of any; most keep the size."""
    sides, pads, dilations = d.rng.choice(
        [
            ((3, 3), [1, 1, 1, 1], [1, 1]),
            ((3, 3), [1, 1, 1, 1], [1, 1]),
            ((1, 1), [0, 0, 0, 0], [1, 1]),
            ((1, 5), [0, 2, 0, 2], [1, 1]),
            ((3, 3), [0, 2, 2, 0], [1, 1]),  # sees upwards less than downwards
            ((2, 3), [1, 1, 0, 1], [1, 1]),
            ((3, 3), [2, 2, 2, 2], [2, 2]),
            ((3, 3), [0, 0, 0, 0], [1, 1]),
            ((3, 3), [2, 2, 2, 2], [1, 1]),
        ][:kinds]
    )
    reach = [dilations[i] * (sides[i] - 1) - pads[i] - pads[i + 2] for i in range(2)]
    groups = x.channels if d.rng.random() < 0.2 else 1
    outputs = x.channels if groups > 1 else d.rng.choice([4, 8, 16])
    kernel = d.kernel(outputs, x.channels // groups, sides)
    bias = [d.number(0.1, outputs)] if d.rng.random() < 0.5 else []
    name = d.node("Conv", x.name, kernel, *bias, pads=pads, dilations=dilations, group=groups)
    size = x.size + ("" if reach == [0, 0] else f"crop{reach}")
    name = d.node("Relu", name) if d.rng.random() < 0.7 else name
    return Map(name, outputs, size)


def pooling(d: Draft, x: Map) -> Map:
    """Append a pooling, mostly over disjoint windows; sometimes of the first features."""
    plain = [((2, 2), [2, 2])] * 3 + [((3, 3), [3, 3])] * 2
    odd = [((3, 3), [2, 2]), ((2, 2), [1, 1]), ((2, 2), [2, 1])]
    sides, strides = d.rng.choice([*plain, d.rng.choice(odd)])
    x = d.rng.choice([x, d.maps[0]])
    op_type = d.rng.choice(["MaxPool", "AveragePool"])
    form: dict[str, object] = {}
    if d.rng.random() < 0.3:
        sides, strides = (3, 3), [2, 2]
        form = d.rng.choice(
            [{"ceil_mode": 1}, {"pads": [1] * 4}, {"auto_pad": "SAME_UPPER"}, {"pads": [1, 1, 0, 0]}]
        )
    name = d.node(op_type, x.name, kernel_shape=list(sides), strides=strides, **form)
    return Map(name, x.channels, f"{x.size}pool{sides}{strides}{form}")


def padding(d: Draft, x: Map) -> Map:
    """Pad, and mostly crop or convolve the padding away again."""
    before, after = d.rng.choice([(1, 1), (2, 1), (0, 2)])
    pads = d.constant([0, 0, before, before, 0, 0, after, after])
    mode = d.rng.choice(["constant", "edge", "reflect"])
    padded = Map(d.node("Pad", x.name, pads, mode=mode), x.channels, f"{x.size}pad{before}{after}")
    d.maps.append(padded)
    way = d.rng.choice(["crop", "convolve", "leave"])
    if way == "leave":
        return padded
    if way == "crop":
        starts, stops = d.constant([before, before]), d.constant([-after or ENDLESS] * 2)
        axes = d.constant(d.rng.choice([[2, 3], [-2, -1]]))
        return Map(d.node("Slice", padded.name, starts, stops, axes), x.channels, x.size)
    side = before + after + 1
    kernel = d.kernel(x.channels, x.channels, (side, side))
    return Map(d.node("Conv", padded.name, kernel), x.channels, x.size)


def crop(d: Draft, x: Map) -> Map:
    """Append a crop, at bounds that depend on the picture's size or do not."""
    bounds = d.rng.choice([(1, ENDLESS), (2, -1), (0, -2), (0, 9), (-11, ENDLESS)])
    start, stop = (d.constant([value] * 2) for value in bounds)
    return Map(d.node("Slice", x.name, start, stop, d.constant([2, 3])), x.channels, f"{x.size}cut{bounds}")


def whole(d: Draft, x: Map) -> Map:
    """Append nodes that see the whole picture: moments over positions, products over them, exchanged axes."""
    kind = d.rng.choice(["gate", "norm", "instance", "transpose", "matmul", "gemm", "row"])
    if kind == "instance":
        scale, offset = d.number(1.5, x.channels), d.number(0.1, x.channels)
        return Map(d.node("InstanceNormalization", x.name, scale, offset), x.channels, x.size)
    if kind == "transpose":
        return Map(d.node("Transpose", x.name, perm=[0, 1, 3, 2]), x.channels, f"{x.size}turned")
    if kind in ("gate", "row"):
        axes = d.constant([2, 3] if kind == "gate" else [-1])
        mean = d.node(d.rng.choice(["ReduceMean", "ReduceL2"]), x.name, axes)
        return Map(d.node("Mul", x.name, mean), x.channels, x.size)
    if kind == "norm":
        axes = d.constant([2, 3])
        centred = d.node("Sub", x.name, d.node("ReduceMean", x.name, axes))
        variance = d.node("ReduceMean", d.node("Mul", centred, centred), axes)
        return Map(
            d.node("Div", centred, d.node("Sqrt", d.node("Add", variance, d.number(1e-3)))),
            x.channels,
            x.size,
        )
    lengths = d.node("Shape", x.name)
    flat = d.node("Reshape", x.name, d.constant([x.channels, -1]))
    square = d.constant(weights(x.channels, x.channels, seed=5))
    scaled = {} if kind == "matmul" else {"alpha": 0.5}
    mixed = d.node("MatMul" if kind == "matmul" else "Gemm", square, flat, **scaled)
    return Map(d.node("Reshape", mixed, lengths), x.channels, x.size)


STEPS = {
    pointwise: 5,
    activation: 5,
    normalization: 1.5,
    strided: 0.7,
    enlarged: 0.4,
    channels: 2,
    joined: 3,
    convolution: 4,
    pooling: 2,
    padding: 2,
    crop: 1,
    whole: 1.2,
}
"""Function that appends the next nodes → its relative frequency."""


def drawn(seed: int) -> FeatureNetwork:
    """Return a random network of three or four layers."""
    d = Draft(random.Random(seed))
    x = convolution(d, Map("image", 3), 4)
    d.maps.append(x)
    steps, often = list(STEPS), list(STEPS.values())
    for _ in range(d.rng.randint(2, 5)):
        x = d.rng.choices(steps, often)[0](d, d.rng.choice(d.maps[-3:]))
        d.maps.append(x)
    last = d.node("Conv", x.name, d.kernel(4, x.channels, (3, 3)), pads=[1] * 4)
    between = [each.name for each in d.rng.sample(d.maps, 2)]
    layers = dict.fromkeys([d.maps[0].name, *between, last])
    return network(d.nodes, d.constants, list(layers))
