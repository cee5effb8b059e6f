"""L-BFGS-B and first-order methods on an image.

block_sweeps, first_order, gradient_subspace, held_variables, lbfgs, state, variables
"""
