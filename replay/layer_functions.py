"""Which activation and which norm a module computes, in words that every framework's names lead to.

A module says it by its class, a graph by its operators. Both are read into the settings `activation`,
`approximate` and `norm`, so that a module and its export can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import gcd
from types import MappingProxyType

# A name in lower case and without "_" to what it is. torch.nn's classes, aten's and ONNX's operators:
# most names are the same word, the others are aliases of one.
ACTIVATIONS: Mapping[str, str] = MappingProxyType(
    {word.replace(" ", ""): word for word in (
        "celu", "elu", "gelu", "hard sigmoid", "hard swish", "hard tanh", "leaky relu", "mish", "prelu", "relu",
        "selu", "sigmoid", "silu", "softplus", "softsign", "tanh")}
    | {"swish": "silu", "prelukernel": "prelu"}
)  # fmt: skip
NORMS: Mapping[str, str] = MappingProxyType(
    {"layernorm": "layer norm", "nativelayernorm": "layer norm", "layernormalization": "layer norm",
     "rmsnorm": "RMS norm", "fusedrmsnorm": "RMS norm", "rmsnormalization": "RMS norm",
     "simplifiedlayernormalization": "RMS norm",
     "batchnorm": "batch norm", "batchnorm1d": "batch norm", "nativebatchnorm": "batch norm",
     "batchnormalization": "batch norm",
     "groupnorm": "group norm", "nativegroupnorm": "group norm", "groupnormalization": "group norm",
     "instancenorm1d": "instance norm", "instancenormalization": "instance norm"}
)  # fmt: skip
# One part under another name, or in another form.
_SAME: Mapping[str, str] = MappingProxyType(
    {
        "div": "mul",
        "reciprocal": "mul",
        "square": "pow",
        "reducemean": "mean",
        "sqrt": "root",
        "rsqrt": "root",
    }
)
# x^3 (a power, or two products), times 0.044715, times sqrt(2 / pi), times x, times a half.
_TANH_PRODUCTS = 5
# Beside products and squares. An epsilon may be added, and a bias.
_OF_NORMS = frozenset({"mean", "root", "sub", "add"})
# Of the row, and of the squares of what is left: a layer norm takes two.
_MEANS = 2
# These gate and squash within other functions, too: they are told where a module computes nothing else.
_PARTS = frozenset({"sigmoid", "tanh"})
# Operators that move or convert values, and compute none.
_MOVING = frozenset(
    {"constant", "identity", "cast", "castlike", "shape", "constantofshape", "reshape", "view", "unsqueeze",
     "squeeze", "expand", "transpose", "permute", "detach", "alias", "clone", "tocopy", "contiguous", "t"}
)  # fmt: skip


def settings_of_class(name: str) -> dict[str, str]:
    """What a module's class says: {"activation": "gelu"} of "GELU"; {} of what is neither."""
    return _setting(_plain(name))


def settings_of_operators(names: Iterable[str]) -> dict[str, str]:
    """What the operators of one module's own code say, in the order in which they run.

    A function that an exporter took apart is known by its parts. Of several activations each is
    named once: {"activation": "gelu, relu"}.
    """
    operators = [name for name in map(_plain, names) if name not in _MOVING]
    whole = _assembled(Counter(operators))
    if whole:
        return whole
    found: dict[str, dict[str, None]] = {}
    for operator in operators:
        if operator in _PARTS and len(set(operators)) > 1:
            continue
        for setting, word in _setting(operator).items():
            found.setdefault(setting, {})[word] = None
    return {setting: ", ".join(words) for setting, words in found.items()}


def _assembled(counted: Counter[str]) -> dict[str, str]:
    """A function written in elementary operators; {} where these are something else."""
    calls = gcd(*counted.values())  # a module that is called twice runs each of them twice
    count: Counter[str] = Counter()
    for name, number in counted.items():
        count[_SAME.get(name, name)] += number // calls
    products = count.pop("mul", 0)
    squares = count.pop("pow", 0)
    if count == {"sigmoid": 1} and products == 1 and not squares:
        return {"activation": "silu"}
    if count == {"erf": 1, "add": 1} and not squares:
        return {"activation": "gelu", "approximate": "none"}
    if count == {"tanh": 1, "add": 2} and products + squares >= _TANH_PRODUCTS:
        return {"activation": "gelu", "approximate": "tanh"}
    if count == {"softplus": 1, "tanh": 1} and products == 1:
        return {"activation": "mish"}
    if count["root"] != 1 or not count.keys() <= _OF_NORMS or not products + squares:
        return {}
    if count["mean"] == 1 and not count["sub"]:
        return {"norm": "RMS norm"}
    return {"norm": "layer norm"} if count["mean"] == _MEANS and count["sub"] else {}


def _setting(plain: str) -> dict[str, str]:
    if plain in ACTIVATIONS:
        return {"activation": ACTIVATIONS[plain]}
    return {"norm": NORMS[plain]} if plain in NORMS else {}


def _plain(name: str) -> str:
    """`_fused_rms_norm`, `aten::gelu.default`: without what a framework puts around the word."""
    return name.rpartition("::")[2].partition(".")[0].replace("_", "").lower()
