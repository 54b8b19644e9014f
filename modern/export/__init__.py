"""The transformer as a program of its own: torch.export, AOTInductor, ONNX, each opened as a stack."""
