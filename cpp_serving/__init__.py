"""The exported legacy model, scored in C++."""
