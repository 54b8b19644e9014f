"""How many values an ONNX operator adds up in one sum: rounding grows with its square root."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from replay.adapters.torch_terms import Shape

_BY_LAST_AXIS = frozenset(
    {
        "MatMul", "Gemm", "FusedMatMul", "LayerNormalization", "RMSNormalization",
        "SimplifiedLayerNormalization", "SkipLayerNormalization", "GroupNormalization",
        "InstanceNormalization", "Softmax", "LogSoftmax", "Hardmax", "CumSum", "LpNormalization",
    }
)  # fmt: skip
_BY_REDUCTION = frozenset(
    {
        "ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceSumSquare", "GlobalAveragePool", "AveragePool", "Einsum",
    }
)  # fmt: skip
_BY_WEIGHT = frozenset({"Conv", "ConvTranspose"})
_BY_KEYS = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def terms_of(op_type: str, shapes: Sequence[Shape], results: int) -> int:
    """Values in one sum of an operator; 1 for what adds none up.

    Args:
        op_type: The operator.
        shapes: Of its inputs; () for what is not known.
        results: Number of values it gives.
    """
    if op_type in _BY_LAST_AXIS and shapes and shapes[0]:
        return max(1, shapes[0][-1])
    if op_type in _BY_REDUCTION and shapes:
        return max(1, prod(shapes[0]) // max(1, results))
    if op_type in _BY_WEIGHT and len(shapes) > 1:
        return max(1, prod(shapes[1][1:]))
    if op_type in _BY_KEYS and len(shapes) > 1:
        return max(1, *shapes[1][-2:])
    if op_type in _RECURRENT and len(shapes) > 2:
        return max(1, shapes[1][-1] + shapes[2][-1])
    return 1
