"""The ranker as an ONNX graph of any number of candidates."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch


def export(ranker: Any, path: Path) -> None:
    """Write it."""
    names = ["numbers", "history", "mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs a package more
        torch.onnx.export(
            ranker,
            (torch.ones(3, 3), torch.ones(3, 7, 4), torch.ones(3, 8)),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=names,
            output_names=["logit"],
            dynamic_axes={name: {0: "candidates"} for name in names},
        )
