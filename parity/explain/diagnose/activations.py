"""Another activation, told by values alone: the step's input is captured, so each candidate can be tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from parity.explain.diagnose.curves import sigmoid
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.norms import arithmetic_room
from parity.explain.diagnose.sample import Sample
from parity.tolerance import Floats, Mask

_TANH_GELU = 0.7978845608028654  # sqrt(2 / pi)
# Self-normalising networks: Klambauer et al. 2017, section 2.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
# Of the cells, so many have to be as a function says before it is that side's: the rest may be wrong
# for another reason.
_MOSTLY = 0.9
# Functions that give as many cells, up to this share, can not be told apart.
_ALIKE = 0.01
# Four float32 roundings of the value: its exponential, a sum, a quotient and a product.
_ROUNDINGS = 4 * 2.0**-24


def _erf_gelu(x: Floats) -> Floats:
    from scipy.special import erf  # heavy: only a layer's diagnosis pays for it

    return np.asarray(0.5 * x * (1.0 + erf(x / math.sqrt(2.0))))


def _selu(x: Floats) -> Floats:
    return _SELU_SCALE * np.where(x > 0.0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType(
    {
        "no activation": lambda x: x,
        "ReLU": lambda x: np.maximum(x, 0.0),
        "leaky ReLU": lambda x: np.where(x > 0.0, x, 0.01 * x),
        "ELU": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
        "SELU": _selu,
        "GELU (erf)": _erf_gelu,
        "GELU (tanh)": lambda x: 0.5 * x * (1.0 + np.tanh(_TANH_GELU * (x + 0.044715 * x**3))),
        "GELU (sigmoid)": lambda x: x * sigmoid(1.702 * x),
        "SiLU": lambda x: x * sigmoid(x),
        "Mish": lambda x: x * np.tanh(np.logaddexp(0.0, x)),
        "hard swish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
        "sigmoid": sigmoid,
        "hard sigmoid": lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
        "hard sigmoid (ONNX's)": lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0),
        "tanh": np.tanh,
        "hard tanh": lambda x: np.clip(x, -1.0, 1.0),
        "softsign": lambda x: x / (1.0 + np.abs(x)),
        "softplus": lambda x: np.logaddexp(0.0, x),
    }
)


def activation_hypotheses(sample: Sample, name: str, inputs: Floats) -> Iterator[Hypothesis]:
    """Another function of the same input.

    It is claimed where one function, and only one, gives the challenger's values from the input, and
    another the reference's. Where several give the reference's (of positive inputs a ReLU and none
    at all), all of them are named.

    Args:
        sample: Cells of a layer.
        name: Of the input, in words.
        inputs: [cell], what the function may be of.
    """
    finite = np.isfinite(sample.r) & np.isfinite(sample.c)
    if not finite.any():
        return
    values = {key: f(inputs) for key, f in ACTIVATIONS.items()}
    room = arithmetic_room(sample) + _ROUNDINGS * np.abs(sample.r)
    ours, theirs = (_giving(values, side, room, finite) for side in (sample.r, sample.c))
    if not ours or len(theirs) != 1 or theirs[0] in ours:
        return
    own, other = " or ".join(ours), theirs[0]
    yield Hypothesis(
        kind="activation",
        says=f"{other} of {name} instead of {own}",
        meaning="another activation",
        parameters={"reference": own, "challenger": other},
        bits=math.log2(len(ACTIVATIONS)),
        values=values[other],
        slack=room,
        reach="all",
    )


def _giving(
    values: Mapping[str, Floats], side: Floats, room: Floats, finite: Mask
) -> tuple[str, ...]:
    """The functions that give a side's values, those that can not be told apart together."""
    shares = {
        key: float(np.mean((np.abs(one - side) <= room)[finite])) for key, one in values.items()
    }
    most = max(shares.values())
    return tuple(key for key, share in shares.items() if share >= max(_MOSTLY, most - _ALIKE))
