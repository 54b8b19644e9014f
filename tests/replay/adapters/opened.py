"""The small models as stacks, torch modules and their ONNX exports."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parity.compare.alignment import align
from parity.explain.causes import find_causes
from parity.explain.probe import probe
from parity.plan import Plan
from replay.adapters.model_stack import ModelStack, features_of
from replay.adapters.onnx_graph import open_stack as open_onnx
from replay.adapters.torch_module import stack_from_module
from replay.request import RequestBatch
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import models

MODELS = "tests.replay.adapters.models"
OPTIONS: Mapping[str, Any] = {
    "inputs": f"{MODELS}:arrays",
    "example": f"{MODELS}:example",
    "request_inputs": ["age"],
    "columns": {"dense": list(models.DENSE), "ids": ["ad", "slot"]},
    "money": "candidate.bid_micros",
}


def from_module(module: nn.Module, inputs: Callable[..., Any] = models.arrays) -> ModelStack:
    example = models.example()
    features = features_of(
        inputs,
        example,
        rows="candidate",
        request_inputs=OPTIONS["request_inputs"],
        columns=OPTIONS["columns"],
        nan_is_missing=(),
    )
    return stack_from_module(
        module, features=features, example=example, logit="return", money=OPTIONS["money"]
    )


def from_export(path: Path, **options: Any) -> ModelStack:
    return open_onnx(path, logit="logit", **{**OPTIONS, **options})


def exported(module: nn.Module, path: Path, *, opset: int = 17) -> Path:
    """By torch's older exporter, which needs no further package; its metadata are node names."""
    arrays = models.arrays(models.example())
    example = (
        torch.from_numpy(arrays["dense"][:7]),
        torch.from_numpy(arrays["ids"][:7]),
        torch.ones(7),
    )
    names = ["dense", "ids", "age"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and says so in several ways
        torch.onnx.export(
            module,
            example,
            str(path),
            dynamo=False,
            opset_version=opset,
            dynamic_axes={name: {0: "rows"} for name in names},
            input_names=names,
            output_names=["logit"],
        )
    return path


def changed(module: nn.Module, change: Callable[[Any], None]) -> nn.Module:
    copied = copy.deepcopy(module)
    with torch.no_grad():
        change(copied)
    return copied


def causes_between(
    reference: Stack, challenger: Stack, batch: RequestBatch | None = None
) -> list[str]:
    batch = batch or random_batch(32, 6, seed=11)
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan(same_training=False))
    return [one.checkpoint for one in find_causes(probe(reference, challenger, batch, alignment))]
