"""Minimise the loss of an image with SciPy's L-BFGS-B, or with a first-order method.

block_sweeps       minimise block by block
device_problem     the loss and its vectors in the memory of a card
first_order        the steps of Adam and gradient descent
gradient_subspace  coordinates of L-BFGS in the span of the gradients
held_variables     variables that leave a part of the image unchanged
lbfgs              minimise the loss of an image
problem            the loss and its vectors, in the memory of the CPU
state              the state of an optimisation, to resume it
variables          linear maps between a vector of variables and an image
vector_graphs      graphs of what L-BFGS does with vectors
"""
