"""The loss of an image and its gradient, evaluated with onnxruntime: whole, in tiles, or block by block.

engine         targets and objectives of one network
evaluation     the values of one evaluation
memory_costs   estimate the memory of an evaluation
session        run a graph; the only module that imports onnxruntime
session_cache  build sessions and keep them
whole_graphs   graphs of a whole image
losses         terms of the loss as ONNX nodes
tiling         images that are too large to be evaluated at once
"""
