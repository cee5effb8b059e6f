"""A corpus of hostile ONNX files, each with the text of its refusal, and of odd ones that are valid.

`corpus` gives the bytes of each by name, made here and nowhere downloaded: nothing of it reaches beyond the
process that makes it. All start from `plain`, a network of one convolution.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], None]


def plain() -> onnx.ModelProto:
    """Return relu1_1 = relu(conv(image)) and pooled, the same at half the size."""
    kernel = np.random.default_rng(3).normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["relu1_1"], "relu"),
        helper.make_node("MaxPool", ["relu1_1"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info("relu1_1", TensorProto.FLOAT, [1, 4, "h", "w"]),
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, 4, "a", "b"]),
        ],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.full(4, 0.1, np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def external(location: str, **more: str) -> Change:
    """Keep the kernel in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def external_without_saying(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def external_in_a_constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "hidden")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def domain(name: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].domain = name
        model.opset_import.append(helper.make_opsetid(name, 1))

    return change


def operator(op_type: str, inputs: list[str], outputs: list[str], **attributes: object) -> Change:
    """Put a node in front."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node(op_type, inputs, outputs, "extra", **attributes))

    return change


def function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    made = helper.make_function("mine", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    model.functions.append(made)


def inner_graph(depth: int = 1) -> onnx.GraphProto:
    graph = helper.make_graph([helper.make_node("Identity", ["relu1_1"], ["out"])], "inner", [], [])
    graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, None))
    for _ in range(depth - 1):
        branch = helper.make_node("If", ["flag"], ["out"], then_branch=graph, else_branch=graph)
        # One branch only, or each level would double the file.
        del branch.attribute[1:]
        graph = helper.make_graph([branch], "inner", [], list(graph.output))
    return graph


def branching(depth: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
        node = helper.make_node("If", ["flag"], ["chosen"], then_branch=inner_graph(depth))
        model.graph.node.append(node)

    return change


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "forever"))
    model.graph.node.append(helper.make_node("Loop", ["forever", ""], [], body=body))


def tensor(**fields: object) -> Change:
    """Set fields of the kernel."""

    def change(model: onnx.ModelProto) -> None:
        kernel = model.graph.initializer[0]
        for name, value in fields.items():
            if isinstance(value, list):
                kernel.ClearField(name)
                getattr(kernel, name).extend(value)
            else:
                setattr(kernel, name, value)

    return change


def absent(model: onnx.ModelProto) -> None:
    tensor(dims=[1 << 20, 3, 1 << 10, 1 << 10])(model)
    model.graph.initializer[0].ClearField("raw_data")


def attribute(node: int, name: str, value: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        kept = [a for a in model.graph.node[node].attribute if a.name != name]
        del model.graph.node[node].attribute[:]
        model.graph.node[node].attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def weights(array: np.ndarray) -> Change:
    return lambda model: model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "kernel"))


def bias(array: np.ndarray) -> Change:
    return lambda model: model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "bias"))


def groups_of_less_than_two(model: onnx.ModelProto) -> None:
    """The kernel fits the picture, but its four features do not part into three groups."""
    weights(np.ones((4, 1, 3, 3), np.float32))(model)
    attribute(0, "group", 3)(model)


def values(filling: float, places: int = 1) -> Change:
    def change(model: onnx.ModelProto) -> None:
        kernel = numpy_helper.to_array(model.graph.initializer[0]).copy()
        kernel.ravel()[:places] = filling
        weights(kernel)(model)

    return change


def renamed(old: str, new: str) -> Change:
    """Rename a tensor wherever it is named."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        for named in (*model.graph.input, *model.graph.output, *model.graph.initializer):
            if named.name == old:
                named.name = new

    return change


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "relu1_1"


def itself(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "relu1_1"


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["conv"], ["relu1_1"]))


def same_output_twice(model: onnx.ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


def same_weight_twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def weight_over_a_node(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "conv"))


def weight_over_the_image(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3, 8, 8), np.float32), "image"))


def unmade_input(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def dynamic_kernel(model: onnx.ModelProto) -> None:
    """Multiply the kernel by the mean of the image."""
    model.graph.node.insert(0, helper.make_node("Mul", ["kernel", "mean"], ["made"]))
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0))
    model.graph.node[2].input[1] = "made"


def huge_padding(model: onnx.ModelProto) -> None:
    pads = numpy_helper.from_array(np.array([0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0]), "pads")
    model.graph.initializer.append(pads)
    model.graph.node[0].input[0] = "padded"
    model.graph.node.insert(0, helper.make_node("Pad", ["image", "pads"], ["padded"]))


def overflowing_padding(model: onnx.ModelProto) -> None:
    huge_padding(model)
    pads = numpy_helper.from_array(np.array([0, 0, 2**62, 2**62, 0, 0, 2**62, 2**62]), "pads")
    model.graph.initializer[-1].CopyFrom(pads)


def reshaped(*shape: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
        model.graph.node[1].input[0] = "other"
        model.graph.node.insert(1, helper.make_node("Reshape", ["conv", "shape"], ["other"]))

    return change


def reshaped_by_pixels(model: onnx.ModelProto) -> None:
    """Add a layer whose shape depends on the values of the image."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), "axes"))
    model.graph.node.append(helper.make_node("ReduceMean", ["relu1_1", "axes"], ["seen"], keepdims=0))
    model.graph.node.append(helper.make_node("Cast", ["seen"], ["lengths"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Reshape", ["relu1_1", "lengths"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 4, "h", "w"]))


def axes_by_pixels(model: onnx.ModelProto) -> None:
    """Convolve a tensor whose number of axes depends on the values of the image."""
    for name, value in {"zero": [0], "sides": [1, 3, 512, 512, 1, 1], "one": [1]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["seen"], keepdims=0),
        helper.make_node("Cast", ["seen"], ["number"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["number", "one"], ["end"]),
        helper.make_node("Slice", ["sides", "zero", "end"], ["lengths"]),
        helper.make_node("Reshape", ["image", "lengths"], ["other"]),
    ]
    model.graph.node[0].input[0] = "other"
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def broadcast(model: onnx.ModelProto) -> None:
    """Make the features 4096 times as large by broadcasting a few bytes of weights."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4096, 1, 1, 1), np.float32), "batch"))
    model.graph.node.insert(1, helper.make_node("Mul", ["conv", "batch"], ["many"]))
    model.graph.node[2].input[0] = "many"


def outer_product(model: onnx.ModelProto) -> None:
    """Multiply all features by all features, as a column and a row."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, -1, 1]), "column"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1, -1]), "row"))
    model.graph.node.insert(1, helper.make_node("Reshape", ["conv", "column"], ["left"]))
    model.graph.node.insert(2, helper.make_node("Reshape", ["conv", "row"], ["right"]))
    model.graph.node.insert(3, helper.make_node("MatMul", ["left", "right"], ["square"]))
    model.graph.node[4].input[0] = "square"


def integer_layer(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Cast"
    model.graph.node[1].attribute.append(helper.make_attribute("to", TensorProto.INT64))


def flat_layer(model: onnx.ModelProto) -> None:
    model.graph.node[2].CopyFrom(helper.make_node("Flatten", ["relu1_1"], ["pooled"]))


def batch_of_layers(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([4, 1, 512, 512]), "shape"))
    model.graph.node[2].CopyFrom(helper.make_node("Reshape", ["relu1_1", "shape"], ["pooled"]))


def constant_layer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 5, 5), np.float32), "fixed"))
    model.graph.node[2].CopyFrom(helper.make_node("Identity", ["fixed"], ["pooled"], "pool"))


def unshaped(of: str) -> Change:
    """Remove the declared shapes of the inputs or outputs."""

    def change(model: onnx.ModelProto) -> None:
        for value in getattr(model.graph, of):
            value.type.tensor_type.ClearField("shape")

    return change


def sparse(model: onnx.ModelProto) -> None:
    made = model.graph.sparse_initializer.add()
    made.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "thin"))
    made.indices.CopyFrom(numpy_helper.from_array(np.array([0])))
    made.dims.append(1 << 40)


def sparse_constant(model: onnx.ModelProto) -> None:
    thin = onnx.SparseTensorProto()
    thin.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "thin"))
    thin.indices.CopyFrom(numpy_helper.from_array(np.array([0])))
    thin.dims.append(1 << 40)
    operator("Constant", [], ["thin"], sparse_value=thin)(model)


def training(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.CopyFrom(inner_graph())


def string_tensor(model: onnx.ModelProto) -> None:
    words = helper.make_tensor("words", TensorProto.STRING, [1], [b"rm -rf"])
    model.graph.initializer.append(words)


def metadata(key: str, value: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        ours = {
            "format": "1",
            "name": "n",
            "source": "s",
            "licence": "l",
            "weights_sha256": "0",
            "style_layers": "relu1_1",
            "content_layers": "relu1_1",
        } | {key: value}
        for name, text in ours.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = f"lbfgs_style.{name}", text

    return change


def opsets(*versions: int, names: Sequence[str] = ("", "")) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(map(helper.make_opsetid, names, versions))

    return change


def many_nodes(count: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        nodes = [helper.make_node("Relu", ["conv"], [f"r{number}"]) for number in range(count)]
        model.graph.node.extend(nodes)

    return change


def no_layers(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))


def sized_input(*shape: int | str) -> Change:
    made = helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))
    return lambda model: model.graph.input[0].CopyFrom(made)


def ir_version(version: int) -> Change:
    return lambda model: setattr(model, "ir_version", version)


HOSTILE: dict[str, tuple[Change, str]] = {
    "external data in the folder above": (external("../secret"), "another file"),
    "external data far above": (external("../" * 40 + "etc/passwd"), "another file"),
    "external data, absolute": (external("/etc/passwd"), "another file"),
    "external data, absolute on Windows": (external("C:\\Windows\\win.ini"), "another file"),
    "external data on a share": (external("\\\\host\\share\\weights"), "another file"),
    "external data from a device": (external("/dev/zero", length=str(1 << 60)), "another file"),
    "external data through a symbolic link": (external("link.bin"), "another file"),
    "external data through a hard link": (external("hard.bin"), "another file"),
    "external data beyond a file's end": (external("hard.bin", offset="99999999999"), "another file"),
    "external data without data_location": (external_without_saying, "another file"),
    "external data in a Constant": (external_in_a_constant, "another file"),
    "a domain of its own": (domain("com.example"), "com.example.Relu"),
    "onnxruntime's contributed operators": (domain("com.microsoft"), "com.microsoft.Relu"),
    "traditional machine learning": (domain("ai.onnx.ml"), "ai.onnx.ml.Relu"),
    "a domain with a line break": (domain("evil\nlbfgs-style: ok\x1b[2J"), r"evil\\nlbfgs-style"),
    "a function": (function, "functions"),
    "an If": (branching(1), "'If'"),
    "thirty nested Ifs": (branching(30), "too deeply nested"),
    "a Loop of 2⁶² turns": (loop, "'Loop'"),
    "random numbers": (operator("RandomNormal", [], ["r"], shape=[1 << 30]), "'RandomNormal'"),
    "a tensor of a size that is written": (operator("ConstantOfShape", ["s"], ["r"]), "'ConstantOfShape'"),
    "a picture decoder": (operator("ImageDecoder", ["s"], ["r"]), "'ImageDecoder'"),
    "sequences": (operator("SequenceConstruct", ["image"], ["r"]), "'SequenceConstruct'"),
    "regular expressions": (
        operator("RegexFullMatch", ["s"], ["r"], pattern="(a+)+$"),
        "'RegexFullMatch'",
    ),
    "an operator that does not exist": (operator("Rellu", ["image"], ["r"]), "'Rellu'"),
    "a graph as an attribute of Relu": (attribute(1, "body", inner_graph()), "not allowed"),
    "a tensor as an attribute of Relu": (
        attribute(1, "value", numpy_helper.from_array(np.ones(1, np.float32))),
        "not allowed",
    ),
    "a sparse weight": (sparse, "sparse"),
    "a sparse Constant of 2⁴⁰ numbers": (sparse_constant, "not allowed"),
    "a training graph": (training, "training"),
    "a string tensor": (string_tensor, "as string"),
    "a Constant of strings": (operator("Constant", [], ["words"], value_strings=["a"]), "not allowed"),
    "weights that are declared and absent": (absent, "with 0 values for"),
    "weights of 2⁶³ numbers": (tensor(dims=[2**62, 2, 1, 1]), "values for"),
    "weights of 2⁶⁴ numbers, 0 modulo 2⁶⁴": (tensor(dims=[2**32, 2**32, 1, 1]), "values for"),
    "weights one byte short": (tensor(raw_data=bytes(4 * 4 * 27 - 1)), "107.75 values for 108"),
    "weights too long": (tensor(raw_data=bytes(4 * 4 * 28)), "values for"),
    "weights in the wrong field": (tensor(double_data=[1.0]), "not valid ONNX"),
    "weights without a type": (tensor(data_type=0), "as undefined"),
    "weights of an unknown type": (tensor(data_type=999), "an unknown type"),
    "weights of a negative length": (tensor(dims=[-4, 3, -3, 3]), "positive lengths"),
    "weights of no length": (tensor(dims=[0, 3, 3, 3], raw_data=b""), "positive lengths"),
    "weights of 1,000 axes": (tensor(dims=[1] * 1000), "positive lengths"),
    "complex weights": (weights(np.ones((4, 3, 3, 3), np.complex64)), "as complex64"),
    "weights in double": (weights(np.ones((4, 3, 3, 3))), "not? fit"),
    "weights in integers": (weights(np.ones((4, 3, 3, 3), np.int64)), "not? fit"),
    "a kernel of two axes": (weights(np.ones((4, 27), np.float32)), "not? fit"),
    "a kernel for five channels": (weights(np.ones((4, 5, 3, 3), np.float32)), "not? fit"),
    "a bias for five features": (bias(np.ones(5, np.float32)), "do not fit"),
    "a bias of two axes": (bias(np.ones((4, 1), np.float32)), "do not fit"),
    "a weight that is not a number": (values(np.nan), "not a number"),
    "a weight that is infinite": (values(np.inf), "infinite"),
    "all weights not a number": (values(np.nan, 108), "not a number"),
    "a kernel of 2³¹": (attribute(0, "kernel_shape", [2**31 - 1] * 2), "out of range"),
    "a kernel of 0": (attribute(2, "kernel_shape", [0, 0]), "out of range"),
    "a negative kernel": (attribute(2, "kernel_shape", [-2, -2]), "out of range"),
    "another kernel than the weights have": (attribute(0, "kernel_shape", [5, 5]), "not? fit"),
    "a kernel of 100,000 axes": (attribute(2, "kernel_shape", [2] * 100_000), "out of range"),
    "padding of 2³¹": (attribute(0, "pads", [2**31] * 4), "out of range"),
    "padding of 2⁶³ − 1": (attribute(0, "pads", [2**63 - 1] * 4), "out of range"),
    "negative padding": (attribute(0, "pads", [-500] * 4), "out of range"),
    "strides of 0": (attribute(2, "strides", [0, 0]), "out of range"),
    "strides of 2⁶²": (attribute(2, "strides", [2**62] * 2), "out of range"),
    "dilations of 0": (attribute(0, "dilations", [0, 0]), "out of range"),
    "no groups": (attribute(0, "group", 0), "has 0 groups: expected 1 to"),
    "3 groups for 4 features": (groups_of_less_than_two, "do not fit"),
    "7 groups for 3 channels": (attribute(0, "group", 7), "not? fit"),
    "an attribute of the wrong kind": (attribute(0, "pads", "everywhere"), "not valid ONNX|does not fit"),
    "a window larger than the picture": (attribute(2, "kernel_shape", [1000, 1000]), "shape|fit"),
    "a Pad by a million": (huge_padding, "numbers for each pixel"),
    "a Pad by 2⁶²": (overflowing_padding, "does not fit an image"),
    "a reshape to what does not fit": (reshaped(1, 1 << 40, 1, 1), "shape|fit"),
    "a reshape by values of the picture": (reshaped_by_pixels, "expected one that is known"),
    "a number of axes that depends on the picture": (axes_by_pixels, "does not fix the shape of 'other'"),
    "a reshape to two axes": (reshaped(0, -1), "not as declared|fit"),
    "a reshape to a negative length": (reshaped(1, -5, 1, 1), "does not fit an image"),
    "weights that multiply the picture": (broadcast, "numbers for each pixel"),
    "a product of all with all": (outer_product, "numbers for each pixel"),
    "a layer of integers": (integer_layer, "fit|not as declared"),
    "a layer that is flat": (flat_layer, "not as declared"),
    "a layer with a batch": (batch_of_layers, "not as declared"),
    "a layer of weights alone": (constant_layer, "'pooled'.*is the same for every image"),
    "a picture of unknown shape": (unshaped("input"), "does not declare the shape of 'image'"),
    "layers of unknown shape": (unshaped("output"), "does not declare the shape of 'relu1_1'"),
    "a kernel computed while it runs": (dynamic_kernel, "computes the kernel"),
    "a cycle": (cycle, "not valid ONNX"),
    "a node that feeds itself": (itself, "not valid ONNX"),
    "a tensor made twice": (made_twice, "not valid ONNX"),
    "an output named twice": (same_output_twice, "not valid ONNX|distinct"),
    "a weight named twice": (same_weight_twice, "named twice|not valid ONNX"),
    "a weight that is made by a node, too": (weight_over_a_node, "named twice|not valid ONNX"),
    "a weight in place of the picture": (weight_over_the_image, "one input"),
    "an input that no node computes": (unmade_input, "not valid ONNX"),
    "a second input": (second_input, "one input"),
    "a picture of fixed size": (sized_input(1, 3, 224, 224), "free, free"),
    "a picture of a billion channels": (sized_input(1, 10**9, "h", "w"), "1000000000"),
    "a layer with a line break": (renamed("relu1_1", "relu\nok"), r"relu\\nok"),
    "a layer that commands a terminal": (renamed("relu1_1", "\x1b]0;evil\x07"), r"x1b\]0;evil"),
    "a layer that runs from right to left": (renamed("relu1_1", "\u202egnp.exe"), "u202e"),
    "a layer without a name": (renamed("relu1_1", ""), "not valid ONNX|computed by a node|printed"),
    "a layer that begins with a space": (renamed("relu1_1", " relu1_1"), "printed and typed"),
    "a layer of a megabyte": (renamed("relu1_1", "x" * 1_000_000), "printed and typed"),
    "a layer with a reserved name": (renamed("pooled", "weights"), "'weights', a name"),
    "a layer with a name that we derive from another": (
        renamed("pooled", "gram_relu1_1"),
        "'gram_relu1_1', a name",
    ),
    "metadata that command a terminal": (metadata("name", "\x1b[2Jgone"), r"x1b\[2Jgone"),
    "metadata of two lines": (metadata("licence", "MIT\nlbfgs-style: verified"), "on one line"),
    "metadata that name a missing layer": (metadata("style_layers", "\x1b[2J"), "names the layer"),
    "metadata of another format": (metadata("format", "9"), "format '9'"),
    "opset 0": (opsets(0), "opset|not valid ONNX"),
    "opset −1": (opsets(-1), "opset|not valid ONNX"),
    "opset 2³¹": (opsets(2**31), "opset|not valid ONNX"),
    "two opsets": (opsets(18, 7), "uses opset"),
    "an opset for each name of the domain": (opsets(7, 17, names=("", "ai.onnx")), "uses opset"),
    "an opset of the future": (opsets(99), "uses opset"),
    "no opset": (opsets(), "opset|not valid ONNX"),
    "an IR of the future": (ir_version(2**31), "not valid ONNX"),
    "IR version 0": (ir_version(0), "not valid ONNX"),
    "20,000 nodes": (many_nodes(20_000), "20,003 nodes"),
    "no outputs": (no_layers, "distinct names|not valid ONNX"),
    "no nodes": (no_nodes, "not an ONNX model"),
}
"""Name → the change of `plain`, and a regular expression that the refusal matches."""


def files() -> dict[str, tuple[bytes, str]]:
    """Return hostile files that are no models: name → bytes, and a regular expression as in `HOSTILE`."""
    good = plain().SerializeToString()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("model.onnx", good)
    field = bytes([0x0A])  # the first field, with a length: of a graph, a node
    nodes = b"".join(field + bytes([0]) for _ in range(1_000_000))
    node_of_names = field + bytes([1, ord("x")])
    return {
        "nothing": (b"", "not an ONNX model"),
        "zeros": (bytes(4096), "not an ONNX model"),
        "text": (b"%PDF-1.7 or anything else\n" * 50, "not an ONNX model"),
        "half of a network": (good[: len(good) // 2], "cut short"),
        "all but its last byte": (good[:-1], "cut short"),
        "a network twice": (good + good, "not valid ONNX|distinct|named twice"),
        "gzip": (gzip.compress(good), "gzip archive: unpack"),
        "zip": (zipped.getvalue(), "zip archive: unpack"),
        "a million empty nodes": (b"\x3a" + _varint(len(nodes)) + nodes, "too large or too deeply nested"),
        "a node of a million inputs": (
            b"\x3a"
            + _varint(len(node_of_names) * 10**6 + 5)
            + field
            + _varint(3 * 10**6)
            + node_of_names * 10**6,
            "too large or too deeply nested|cut short",
        ),
        "a length of 2⁶³": (b"\x3a" + b"\xff" * 9 + b"\x01" + good, "not an ONNX model"),
        "a number without an end": (b"\xff" * 100, "not an ONNX model"),
        "a group, which ONNX has not": (b"\x0b" * 1000, "not an ONNX model"),
        "names that are not UTF-8": (
            good.replace(b"relu1_1", b"relu\xff\xfe1"),
            "not UTF-8|not an ONNX model",
        ),
        "packed integers of 200 MB": (_packed(200_000_000), "too large or too deeply nested"),
    }


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _packed(count: int) -> bytes:
    """A weight in int64_data, one byte for each of `count` numbers."""
    body = b"\x3a" + _varint(count) + bytes(count)
    graph = b"\x2a" + _varint(len(body)) + body
    return b"\x3a" + _varint(len(graph)) + graph


def corpus() -> dict[str, tuple[bytes, str]]:
    """Return the bytes of every hostile file and the text of its refusal, by name."""
    result = files()
    for name, (change, says) in HOSTILE.items():
        model = plain()
        change(model)
        result[name] = (model.SerializeToString(), says)
    return result


def links(folder: Path) -> None:
    """Put a secret into the folder of the networks, behind the links that two of them name."""
    secret = folder / "secret"
    secret.write_bytes(bytes(4 * 108))
    (folder / "link.bin").symlink_to(secret)
    os.link(secret, folder / "hard.bin")


def in_halves(model: onnx.ModelProto) -> None:
    """float16 in the file, cast where it is used: the kernel itself must be constant, so only the bias."""
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(4, 0.1, np.float16), "half"))
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["bias"], to=TensorProto.FLOAT))


def in_float_data(model: onnx.ModelProto) -> None:
    kernel = numpy_helper.to_array(model.graph.initializer[0])
    made = helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.ravel().tolist())
    model.graph.initializer[0].CopyFrom(made)


def with_a_head(model: onnx.ModelProto) -> None:
    """A classifier for pictures of one size, which layers do not need."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4 * 49, 10), np.float32), "classes"))
    model.graph.node.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    model.graph.node.append(helper.make_node("MatMul", ["flat", "classes"], ["logits"]))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10]))


def documented(model: onnx.ModelProto) -> None:
    model.doc_string = model.graph.doc_string = "\x1b[2J" * 1000
    model.producer_name = "someone\n"


def with_a_padded_border(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads"))
    model.graph.node[0].input[0] = "padded"
    attribute(0, "pads", [0] * 4)(model)
    model.graph.node.insert(0, helper.make_node("Pad", ["image", "pads"], ["padded"], mode="edge"))


def with_a_layer_of_its_own_shape(model: onnx.ModelProto) -> None:
    """Nobody needs it, but its size is to be known."""
    model.graph.node.append(helper.make_node("Shape", ["relu1_1"], ["lengths"]))
    model.graph.node.append(helper.make_node("Reshape", ["relu1_1", "lengths"], ["again"]))
    again = helper.make_tensor_value_info("again", TensorProto.FLOAT, [1, 4, "h", "w"])
    model.graph.output.insert(0, again)


ODD: dict[str, Change] = {
    "as it is": lambda model: None,
    "an older opset": opsets(11),
    "an older IR": ir_version(7),
    "weights in float_data": in_float_data,
    "a bias in float16": in_halves,
    "a head for one size": with_a_head,
    "names as PyTorch gives them": renamed("conv", "/features/features.0/Conv_output_0"),
    "a weight with a reserved name": renamed("bias", "weights"),
    "a tensor with a reserved name": renamed("conv", "gram_relu1_1"),
    "a name in another script": renamed("relu1_1", "слой_1"),
    "a documentation that commands a terminal": documented,
    "a border of copies": with_a_padded_border,
    "a layer that is given the shape it has": with_a_layer_of_its_own_shape,
    "weights of zero": values(0, 108),
    "unused weights": lambda model: model.graph.initializer.append(
        numpy_helper.from_array(np.zeros(7, np.float32), "unused")
    ),
}
"""Odd, but fine: name → what makes `plain` so."""
