"""The ranking transformer: its modules, what it reads, its artifact, and it as a stack."""
