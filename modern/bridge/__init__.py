"""The ported legacy model with a transformer beside it: the step between the two models."""
