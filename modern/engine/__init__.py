"""One process that scores requests of many users together, on a CPU or a GPU."""
