"""Do they differ: alignment, differences, the screen over every request."""
