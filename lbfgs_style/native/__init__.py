"""Operators of our own for onnxruntime, compiled from C++, and the rewrite of graphs that uses them.

emission           write the nodes of a rewritten graph, step by step
layout             rewrite a graph for the operators
library            find, load and ask the compiled library
packing            the weights of the operators
pairs              two 1×1 convolutions as one step
steps              what a graph computes, in steps that operators may do at once
writer             append nodes, in blocks or plain

``source`` holds the C++ code, README.md explains it. Where the library is missing, graphs take the form of
`graphs.cpu_layout`.
"""
