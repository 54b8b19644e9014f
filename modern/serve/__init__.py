"""A stack behind HTTP: Open Inference Protocol v2, batched across requests, never overrun."""
