"""139 faults of a transformer's layers, each at the one module where it has to be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from model import BLOCKS, WIDTH, Transformer
from torch import nn

# Times 1 + this: from what only rounding could hide to what a metric might notice.
SIZES = (1e-5, 1e-3, 1e-2)
EPS = (1e-6, 1e-4, 1e-3)


@dataclass(frozen=True, slots=True)
class LayerFault:
    """A fault: its name, the module path where it stands, and the change that makes it."""

    name: str
    place: str
    change: Callable[[Any], nn.Module | None]


def faults() -> tuple[LayerFault, ...]:
    """All of them, in the order of their blocks."""
    return tuple(_faults())


def planted(model: Transformer, fault: LayerFault) -> Transformer:
    """A copy of the model with the fault in it."""
    copy = deepcopy(model)
    with torch.no_grad():
        other = fault.change(copy.get_submodule(fault.place))
    if other is not None:
        copy.set_submodule(fault.place, other)
    return copy


def _faults() -> Iterator[LayerFault]:
    for block in range(BLOCKS):
        at = f"blocks.{block}"
        for linear in ("query", "key", "value", "out", "up", "down"):
            for size in SIZES:
                yield LayerFault(f"weights x (1 + {size:g})", f"{at}.{linear}", _scaled(size))
        for norm in ("norm1", "norm2"):
            for eps in EPS:
                yield LayerFault(f"eps {eps:g}", f"{at}.{norm}", _set("eps", eps))
        for name, other in (
            ("GELU by tanh", lambda _: nn.GELU(approximate="tanh")),
            ("ReLU", lambda _: nn.ReLU()),
            ("SiLU", lambda _: nn.SiLU()),
        ):
            yield LayerFault(name, f"{at}.act", other)
        yield LayerFault("mask inverted", f"{at}.scores", _set("inverted", value=True))
        yield LayerFault("mask left out", f"{at}.scores", _set("is_masked", value=False))
        yield LayerFault("scores not scaled", f"{at}.scores", _set("scale", 1.0))
        yield LayerFault("values reversed", f"{at}.context", _set("reversed", value=True))
        yield LayerFault("heads permuted", f"{at}.out", _heads_permuted)
        yield LayerFault("one row x 1.01", f"{at}.down", _row)
        yield LayerFault("bias left out", f"{at}.up", _without_bias)
    yield LayerFault("padding is counted", "pool", _set("counts_padding", value=True))
    yield LayerFault("eps 0.0001", "norm", _set("eps", 1e-4))
    yield LayerFault("weights x (1 + 1e-05)", "embed", _scaled(1e-5))


def _scaled(size: float) -> Callable[[nn.Linear], None]:
    def change(module: nn.Linear) -> None:
        module.weight.mul_(1.0 + size)

    return change


def _set(name: str, value: object) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        setattr(module, name, value)

    return change


def _heads_permuted(module: nn.Linear) -> None:
    module.weight.copy_(module.weight.roll(WIDTH // 4, 1))


def _row(module: nn.Linear) -> None:
    module.weight[3] *= 1.01


def _without_bias(module: nn.Linear) -> None:
    module.bias.zero_()
