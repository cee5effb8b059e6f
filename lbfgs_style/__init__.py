"""Neural style transfer with onnxruntime and SciPy's L-BFGS-B."""

__version__ = "0.1.0"
