"""Running stacks over days: one process a stack, shards, journals, Ray."""
