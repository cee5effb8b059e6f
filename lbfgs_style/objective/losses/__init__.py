"""The terms of the loss as ONNX nodes: content, style, total variation, range.

assembly     from features to the loss, and from the loss to the gradient of the image
distances    content distances, total variation, range
moments      Gram matrices and means of features
neighbours   the places of a style whose features are nearest to an image's, by NumPy
style        the table of style statistics: which moments each needs, and its distance
terms        which terms a loss has, and the names of their tensors
wasserstein  the Wasserstein distance of normal distributions
"""
