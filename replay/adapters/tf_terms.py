"""How many values a TensorFlow operator adds up in one sum: rounding grows with its square root."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from replay.adapters.torch_terms import Shape

_BY_LAST_AXIS = frozenset(
    {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Softmax", "LogSoftmax", "Cumsum"}
)
_BY_REDUCTION = frozenset({"Mean", "Sum", "EuclideanNorm", "AvgPool", "Einsum", "L2Loss"})
_BY_WEIGHT = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"})


def terms_of(op: str, shapes: Sequence[Shape], results: int) -> int:
    """Values in one sum of an operator; 1 for what adds none up.

    Args:
        op: Its type.
        shapes: Of its inputs; () for what is not known.
        results: Number of values it gives.
    """
    if op in _BY_LAST_AXIS and shapes and shapes[0]:
        return max(1, shapes[0][-1])
    if op in _BY_REDUCTION and shapes:
        return max(1, prod(shapes[0]) // max(1, results))
    if op in _BY_WEIGHT and len(shapes) > 1:
        return max(1, prod(shapes[1][:-1]))
    return 1
