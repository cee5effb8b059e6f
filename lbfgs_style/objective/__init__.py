"""The loss of an image and its gradient, evaluated with onnxruntime: whole, in tiles, or block by block.

device_arrays  arrays in the memory of a device
engine         targets and objectives of one network
evaluation     the values of one evaluation
gradient_check check the gradient of a network against central differences
memory_costs   estimate the memory of an evaluation
providers      open sessions of onnxruntime on the CPU or a card
session        run a graph
session_cache  build sessions and keep them
whole_graphs   graphs of a whole image
losses         terms of the loss as ONNX nodes
tiling         images that are too large to be evaluated at once
"""
