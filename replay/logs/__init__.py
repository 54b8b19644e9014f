"""Reading logged days, and importing public ones."""
