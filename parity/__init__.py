"""Where two stacks differ, why, what it costs, and whether the challenger may ship."""
