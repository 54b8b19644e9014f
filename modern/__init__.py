"""The stack to reach: PyTorch, from columns to rank."""
