"""What measured tolerances see and let pass, on a transformer in PyTorch, ONNX Runtime, bf16, fp16 and int8.

    .venv/bin/python benchmarks/calibration/run.py        # two minutes on one core; writes results/

Honest forms of the model have to pass on requests that nothing was measured on. Then every weight
tensor, one after another, is multiplied by 1 + 1e-5, and one row of it, in both frameworks.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the models are the tests'

import numpy as np  # noqa: E402  # after the threads are fixed
import torch  # noqa: E402  # as above
from torch import nn  # noqa: E402  # as above

from parity.calibrate import PRECISIONS, Calibration, alignment_to_measure, calibrate  # noqa: E402  # as above
from parity.compare.alignment import align  # noqa: E402  # as above
from parity.explain.causes import find_causes  # noqa: E402  # as above
from parity.explain.probe import probe  # noqa: E402  # as above
from parity.noise import Envelope  # noqa: E402  # as above
from parity.plan import Plan  # noqa: E402  # as above
from replay.stack import Stack  # noqa: E402  # as above
from tests.builders import random_batch  # noqa: E402  # as above
from tests.replay.adapters import models  # noqa: E402  # as above
from tests.replay.adapters.opened import exported, from_export, from_module  # noqa: E402  # as above

RESULTS = Path(__file__).parent / "results"
SAMPLE, OTHERS = random_batch(40, 20, seed=5), random_batch(64, 20, seed=77)
PLAN = Plan(same_training=False)
FACTOR = 1 + 1e-5


def main() -> None:
    """Measure, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    module = models.as_trained(models.SmallTransformer(arguments.width, arguments.layers))
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
            "model": f"{arguments.layers} blocks of width {arguments.width}",
            **measured(module, Path(folder)),
        }
    figures["cpu_s"] = round(time.process_time() - started, 1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "calibration.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def measured(module: nn.Module, folder: Path) -> dict[str, Any]:
    """Honest forms, then faults."""
    reference = from_module(module)
    export = from_export(exported(module, folder / "honest.onnx"))
    started = time.process_time()
    found = tolerances(reference, export)
    figures: dict[str, Any] = {"calibrate_cpu_s": round(time.process_time() - started, 1)}
    figures["honest"] = {
        "copy": causes(reference, from_module(copy.deepcopy(module)), found),
        "onnx": causes(reference, export, found),
        "worst_channel_in_units_of_noise": worst(reference, export, found),
    }
    figures["faults"] = faults(module, reference, found, folder)
    figures["narrow"] = {
        name: narrow(reference, stack, name) for name, stack in narrow_forms(module, folder)
    }
    return figures


def tolerances(reference: Stack, challenger: Stack, precision: str = "fp32") -> Calibration:
    """Measured on requests of their own."""
    alignment = alignment_to_measure(reference.checkpoints, challenger.checkpoints, PLAN)
    return calibrate(reference, challenger, SAMPLE, alignment, precision=PRECISIONS[precision])


def causes(reference: Stack, challenger: Stack, found: Calibration) -> list[str]:
    """What is named on other requests."""
    plan = replace(PLAN, tolerances=found.tolerances)
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)
    return [one.checkpoint for one in find_causes(probe(reference, challenger, OTHERS, alignment))]


def worst(reference: Stack, challenger: Stack, found: Calibration) -> dict[str, Any]:
    """The step that comes nearest to its bound, and what the bound is."""
    plan = replace(PLAN, tolerances=found.tolerances)
    seen = probe(
        reference, challenger, OTHERS, align(reference.checkpoints, challenger.checkpoints, plan)
    )
    units = {}
    for name, tolerance in found.tolerances.items():
        ours, theirs = seen.local_values(seen.alignment[name])
        channels = len(tolerance.noise)
        apart = (theirs.astype(np.float64) - ours).reshape(-1, channels)
        bounds = tolerance.bounds(ours) / tolerance.margin
        units[name] = float(np.max(np.sqrt(np.mean(apart**2, axis=0)) / bounds))
    at = max(units, key=units.__getitem__)
    return {"checkpoint": at, "units": round(units[at], 2), "allowed": 4.0}


def faults(
    module: nn.Module, reference: Stack, found: Calibration, folder: Path
) -> dict[str, dict[str, Any]]:
    """Each parameter, and one row of each matrix, times 1 + 1e-5."""
    told: dict[str, dict[str, Any]] = {}
    for form in ("torch", "onnx"):
        counts: dict[str, Any] = {"planted": 0, "exact": 0, "missed": [], "wrong": []}
        for name, change in changes(module):
            broken = copy.deepcopy(module)
            with torch.no_grad():
                change(dict(broken.named_parameters()))
            stack = (
                from_module(broken)
                if form == "torch"
                else from_export(exported(broken, folder / "broken.onnx"))
            )
            named = causes(reference, stack, found)
            counts["planted"] += 1
            if not named:
                counts["missed"].append(name)
            elif len(named) == 1 and name.startswith(named[0]):
                counts["exact"] += 1
            else:
                counts["wrong"].append([name, named])
        told[form] = counts
    return told


def changes(module: nn.Module) -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """Name of the fault to what makes it."""
    for name, parameter in module.named_parameters():

        def whole(found: dict[str, Any], name: str = name) -> None:
            found[name] *= FACTOR

        yield name, whole
        if parameter.ndim == 2 and len(parameter) > 1:
            # The values' rows of a fused projection: its keys' hardly reach what it gives.
            row = len(parameter) - 3 if "in_proj" in name else min(3, len(parameter) - 1)

            def one_row(found: dict[str, Any], name: str = name, row: int = row) -> None:
                found[name][row] *= FACTOR

            yield f"{name}[{row}]", one_row


class Narrow(nn.Module):
    """The transformer with weights and values of another type; inputs and logit stay float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        for name, child in copy.deepcopy(module).to(dtype).named_children():
            setattr(self, name, child)

    def forward(self, dense: torch.Tensor, ids: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        """As `models.SmallTransformer`."""
        given = dense.to(self.dtype), ids, age.to(self.dtype)
        return models.SmallTransformer.forward(self, *given).float()


def narrow_forms(module: nn.Module, folder: Path) -> Iterator[tuple[str, Stack]]:
    """The model as it runs in each coarser precision."""
    yield "bf16", from_module(Narrow(module, torch.bfloat16))
    yield "fp16", from_module(Narrow(module, torch.float16))
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = exported(module, folder / "float.onnx"), folder / "int8.onnx"
    quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8)
    yield "int8", from_export(target)


def narrow(reference: Stack, challenger: Stack, precision: str) -> dict[str, Any]:
    """What arrives at the logit against its envelope, and what is named."""
    found = tolerances(reference, challenger, precision)
    envelope = found.tolerances["logit"]
    assert isinstance(envelope, Envelope)
    ours, theirs = (s.score(OTHERS, capture=["logit"])["logit"] for s in (reference, challenger))
    apart = theirs.astype(np.float64) - ours
    return {
        "compared": len(found.tolerances),
        "causes": causes(reference, challenger, found),
        "rms": share(np.sqrt(np.mean(apart**2)), envelope.rms),
        "p99": share(np.quantile(np.abs(apart), 0.99), envelope.p99),
        "most": share(np.abs(apart).max(), envelope.most),
        "shift": share(abs(apart.mean()), envelope.shift),
    }


def share(found: float, allowed: float) -> str:
    """A figure beside its bound."""
    return f"{found:.3g} of {allowed:.3g}"


if __name__ == "__main__":
    main()
