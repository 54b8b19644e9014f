"""What a forward costs on this machine, next to what it would cost at least."""
