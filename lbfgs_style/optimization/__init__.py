"""Minimise the loss of an image with SciPy's L-BFGS-B, or with a first-order method.

block_sweeps       minimise block by block
first_order        the steps of Adam and gradient descent
gradient_subspace  coordinates of L-BFGS in the span of the gradients
held_variables     variables that leave a part of the image unchanged
lbfgs              minimise the loss of an image
state              the state of an optimisation, to resume it
variables          linear maps between a vector of variables and an image
"""
