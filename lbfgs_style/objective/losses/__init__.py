"""The terms of the loss as ONNX nodes.

assembly, distances, moments, style, terms, wasserstein
"""
