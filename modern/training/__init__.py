"""From logged days to an artifact: labels, sampling, fitting, and what came of it."""
