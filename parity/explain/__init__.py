"""Where, how much, and why: probe, causes, repair."""
