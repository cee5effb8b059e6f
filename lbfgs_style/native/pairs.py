"""Find two 1×1 convolutions with a ReLU between them, which one operator does, and their gradient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..graphs.builder import GraphBuilder
from .steps import Step

# Number of values of the features between the two from which a pair becomes one step: 4 MB. The gradient then
# computes these features again, which is slower than reading smaller ones from a cache.
LARGE = 2**20


def merge_pairs(graph: GraphBuilder, steps: Sequence[Step]) -> list[Step]:
    """Replace pairs of 1×1 convolutions, with large features between them, by steps of these kinds.

    ==================== ============================================= ================
    kind                 inputs                                        outputs
    ==================== ============================================= ================
    PointPair            x, kernel, bias, second kernel, its bias or "" y
    PointPairGradient    x, kernel, bias, second kernel, cotangent of y cotangent of x
    ==================== ============================================= ================
    """
    readers: defaultdict[str, list[Step]] = defaultdict(list)
    makers: dict[str, Step] = {}
    for step in steps:
        makers.update(dict.fromkeys(step.outputs, step))
        for name in step.inputs:
            readers[name].append(step)
    replaced: dict[int, Step | None] = {}  # a step's id → what takes its place
    for step in steps:
        pair = _pair(graph, step, readers, makers)
        if pair is None or any(id(part) in replaced for part in pair):
            continue
        first, relu, second, *gradient = pair
        x, kernel, bias, *_ = first.inputs
        after = second.inputs[2] if len(second.inputs) > 2 else ""
        replaced |= {id(first): None, id(relu): None}
        replaced[id(second)] = Step(
            "PointPair", [x, kernel, bias, second.inputs[1], after], second.outputs, second.node
        )
        if gradient:
            of_second, of_relu, of_first = gradient
            replaced |= {id(of_second): None, id(of_relu): None}
            inputs = [x, kernel, bias, second.inputs[1], of_second.inputs[0]]
            replaced[id(of_first)] = Step("PointPairGradient", inputs, of_first.outputs, of_first.node)
    kept = (replaced.get(id(step), step) for step in steps)
    return [step for step in kept if step is not None]


def _pair(
    graph: GraphBuilder, first: Step, readers: Mapping[str, list[Step]], makers: Mapping[str, Step]
) -> tuple[Step, ...] | None:
    """Return the steps of a pair that begins at `first`: three, or six with the gradient; else None."""

    def is_convolution(step: Step, of: Step | None = None) -> bool:
        """Return whether a step is a 1×1 convolution: a forward one, or the gradient of another."""
        if step.kind != "PointConvolution":
            return False
        source = graph.flipped.get(step.inputs[1])
        return source is None if of is None else source == of.inputs[1]

    def only_reader(step: Step) -> Step | None:
        found = readers.get(step.outputs[0], [])
        return found[0] if len(found) == 1 and step.outputs[0] not in graph.outputs else None

    has_bias = len(first.inputs) > 2 and first.inputs[2]
    if not has_bias or not is_convolution(first) or math.prod(graph.shape(first.outputs[0])) < LARGE:
        return None
    relu = only_reader(first)
    if relu is None or relu.node.op_type != "Relu" or relu.outputs[0] in graph.outputs:
        return None
    after = readers.get(relu.outputs[0], [])
    forward = [step for step in after if is_convolution(step)]
    of_relu = [step for step in after if step.kind == "ReluGradient" and step.inputs[0] == relu.outputs[0]]
    if len(forward) != 1 or len(of_relu) > 1 or len(forward) + len(of_relu) != len(after):
        return None
    if not of_relu:
        return first, relu, forward[0]
    of_second, of_first = makers.get(of_relu[0].inputs[1]), only_reader(of_relu[0])
    if of_second is None or of_first is None or only_reader(of_second) is not of_relu[0]:
        return None
    if not is_convolution(of_second, forward[0]) or not is_convolution(of_first, first):
        return None
    return first, relu, forward[0], of_second, of_relu[0], of_first
