"""How many values an operation adds up in one sum: rounding grows with its square root."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Shape = tuple[int, ...]

# By the last axis of the operand at this place: products over channels, statistics of a row.
_BY_LAST_AXIS = {
    "mm": 0, "bmm": 0, "mv": 0, "dot": 0, "linear": 0, "addmm": 1, "baddbmm": 1, "addmv": 1,
    "native_layer_norm": 0, "_fused_rms_norm": 0, "_softmax": 0, "_log_softmax": 0, "cumsum": 0,
    "_safe_softmax": 0,
}  # fmt: skip
# All of an operand that one result is made of.
_BY_REDUCTION = frozenset({"sum", "mean", "var", "var_mean", "std", "norm", "linalg_vector_norm",
                           "logsumexp", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d"})  # fmt: skip


def terms_of(operation: str, shapes: Sequence[Shape], results: int) -> int:
    """Values in one sum of an operation; 1 for what adds none up.

    Args:
        operation: As torch calls it, such as "aten::addmm".
        shapes: Of its tensors, in the order of its arguments.
        results: Number of values it gives.
    """
    name = operation.removeprefix("aten::")
    if name in _BY_LAST_AXIS and len(shapes) > _BY_LAST_AXIS[name]:
        shape = shapes[_BY_LAST_AXIS[name]]
        return max(1, shape[-1]) if shape else 1
    if name in _BY_REDUCTION and shapes:
        return max(1, prod(shapes[0]) // max(1, results))
    if "scaled_dot_product" in name and len(shapes) > 1:
        # Over the channels of a head, then over the keys.
        return max(1, *shapes[1][-2:])
    if "convolution" in name and len(shapes) > 1:
        return max(1, prod(shapes[1][1:]))
    if name in {"_embedding_bag", "index_add", "scatter_add", "segment_reduce"} and shapes:
        return max(1, prod(shapes[-1]))
    return 1
