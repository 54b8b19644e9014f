"""A user's own model as a stack: a PyTorch module, an ONNX graph. See docs/adapters.md."""
