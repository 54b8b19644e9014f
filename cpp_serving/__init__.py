"""Tree models scored in C++: the exported legacy model, and files of XGBoost and LightGBM."""

from cpp_serving.opening import open_model

__all__ = ["open_model"]
