"""The legacy model in PyTorch: opened from its artifact, checked point by point, faulted for drills."""
