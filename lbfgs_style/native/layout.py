"""Rewrite a graph for the native operators."""

from __future__ import annotations

from ..graphs import cpu_layout, winograd
from ..graphs.builder import GraphBuilder
from .emission import Emission
from .library import Library
from .pairs import merge_pairs
from .steps import find_steps

# Kinds of steps that make it worthwhile to keep features in blocks.
_WORTHWHILE = {"Convolution", "PointConvolution"}


def rewrite(graph: GraphBuilder, library: Library, threads: int) -> None:
    """Rewrite a graph so that its features are in blocks of channels and the operators of `library` run it.

    What it computes stays the same but for rounding. A graph in which no convolution of features has a
    native operator gets the form of `graphs.cpu_layout`.

    Parameters
    ----------
    graph : GraphBuilder
        Its nodes are replaced. It gets an input ``native_<name>`` for each kernel, see `packing`.
    library : Library
        The compiled library.
    threads : int
        Threads of the session that runs the graph.
    """
    graph.infer_shapes()
    steps, in_blocks = find_steps(graph)
    if not any(step.kind in _WORTHWHILE for step in steps):
        cpu_layout.optimize_for_cpu(graph, winograd.CHOICES["auto"])
        return
    steps = merge_pairs(graph, steps)
    Emission(graph, steps, in_blocks, library, threads).write()
    graph.is_plain = not cpu_layout.has_direct_convolution(graph)
