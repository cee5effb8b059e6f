"""A detector in the form of YuNet that finds one face at a fixed place, whatever the image."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_STRIDES = (8, 16, 32)


def detector(size: tuple[int, int], box: tuple[float, float, float, float], score: float = 1.0) -> bytes:
    """Return an ONNX file for images of `size`, (height, width).

    Parameters
    ----------
    size : (int, int)
        Height and width; OpenCV fills them up to multiples of 32.
    box : (float, float, float, float)
        Left, top, width and height of the face in pixels.
    score : float
        Its score.
    """
    height, width = (32 * math.ceil(side / 32) for side in size)
    left, top, across, down = box
    x, y = left + across / 2, top + down / 2
    # The outputs must depend on the input: each is a constant plus 0 times the mean of the image.
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["added"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array([1, 1, 1]), "shape"),
    ]
    outputs = []
    for kind, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in _STRIDES:
            array = np.zeros((1, (height // stride) * (width // stride), columns), np.float32)
            row, column = int(y // stride), int(x // stride)
            if stride == 16:
                array[0, row * (width // stride) + column] = {
                    "cls": score,
                    "obj": score,
                    "bbox": [
                        x / stride - column,
                        y / stride - row,
                        math.log(across / stride),
                        math.log(down / stride),
                    ],
                    "kps": 0,
                }[kind]
            name = f"{kind}_{stride}"
            constants.append(numpy_helper.from_array(array, f"constant_{name}"))
            nodes.append(helper.make_node("Add", [f"constant_{name}", "added"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "detector", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    return model.SerializeToString()
