"""A model made ready for one precision, and the settings it has to run under."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from modern.engine.config import EngineConfig, Precision
from modern.engine.narrow import NarrowLinear, fits
from modern.transformer.interaction import TaskAttention
from modern.transformer.interest import InterestAttention

Prepared = TypeVar("Prepared", bound=nn.Module)
# The model reads these weights itself, for products that were taken apart (modern.interaction, modern.interest).
_READ_DIRECTLY = ((TaskAttention, "own"), (InterestAttention, "query"))


def prepared(model: Prepared, config: EngineConfig) -> Prepared:
    """A copy of a model or a part of one on the device, linear layers as the precision has them."""
    made = copy.deepcopy(model).eval().requires_grad_(requires_grad=False).to(config.device)
    if config.precision in {"int8", "fp8"}:
        # What narrow layers give to others: on a CPU float32 is no slower.
        out_dtype = torch.bfloat16 if config.device == "cuda" else torch.float32
        _narrow(made, kind=config.precision, out_dtype=out_dtype)
    if _uses_bfloat16(config):
        # Cast once here: autocast would do so at every run.
        for module in made.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
    return made


@contextmanager
def running(config: EngineConfig) -> Iterator[None]:
    """The settings under which the model is recorded, compiled and run."""
    on_gpu = config.device == "cuda"
    before = torch.get_float32_matmul_precision()
    if on_gpu:
        # In every other precision float32 products stay real float32.
        torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast(config.device, torch.bfloat16, enabled=_uses_bfloat16(config)),
        ):
            yield
    finally:
        if on_gpu:
            torch.set_float32_matmul_precision(before)


def _uses_bfloat16(config: EngineConfig) -> bool:
    if config.precision == "bf16":
        return True
    return config.device == "cuda" and config.precision in {"int8", "fp8"}


def _narrow(model: nn.Module, *, kind: Precision, out_dtype: torch.dtype) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            direct = any(isinstance(parent, cls) and name == own for cls, own in _READ_DIRECTLY)
            if isinstance(child, nn.Linear) and fits(child) and not direct:
                setattr(parent, name, NarrowLinear(child, kind=kind, out_dtype=out_dtype))
