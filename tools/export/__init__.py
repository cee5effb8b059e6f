"""VGG with its gradient as ONNX files, checked against PyTorch: ``python -m tools.export``."""
