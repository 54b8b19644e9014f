"""Real models for the fuzz targets to start from, as small as their kinds allow.

An execution's time grows with its input, so seeds are models of one or two splits a tree, without
the large members that the readers skip. Every kind is there:
objectives, categories, DART, forests, several classes, base scores, old versions' layouts.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exactness import lightgbm_cases, xgboost_cases
from legacy.export import export
from tests.artifacts import FEATURES, write_artifact

GOLDEN = Path("tests/cpp_serving/golden")
# What every kind needs in its smallest file; half of the seeds are below 1.6 KB. The artifact's is
# that with every kind of feature.
LARGEST_BYTES = {"artifact": 4_000, "json": 2_000, "ubjson": 2_500, "lightgbm": 2_200}
_SKIPPED = ("base_weights", "loss_changes", "sum_hessian", "id")


def write_seeds(folder: Path) -> None:
    """One folder a reader below `folder`; what was found there stays."""
    for reader in LARGEST_BYTES:
        (folder / reader).mkdir(parents=True, exist_ok=True)
    _write_golden(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' advice on odd parameters.
        _write_trained(folder)
    _write_artifacts(folder / "artifact")


def _write_golden(folder: Path) -> None:
    for golden in sorted(GOLDEN.glob("*.npz")):
        models = np.load(golden)
        for name in models.files:
            if name.endswith((".json", ".txt")):
                _write(folder, f"{golden.stem}-{name}", models[name].tobytes())


def _write_trained(folder: Path) -> None:
    objectives = [(name, "depthwise") for name in xgboost_cases.OBJECTIVES]
    for kind in objectives + [("reg:squarederror", name) for name in xgboost_cases.GROWTHS]:
        for ubjson in (False, True):
            case = xgboost_cases.trained(*kind, seed=1, ubjson=ubjson, smallest=True)
            _write(folder, case.name, case.data)
    objectives = [(name, "leaves") for name in lightgbm_cases.OBJECTIVES]
    for kind in objectives + [("binary", name) for name in lightgbm_cases.GROWTHS]:
        case = lightgbm_cases.trained(*kind, seed=1, smallest=True)
        _write(folder, case.name, case.data)


def _write(folder: Path, name: str, data: bytes) -> None:
    # JSON has a quote after its bracket, UBJSON the type of a length.
    reader = "lightgbm" if data[:4] == b"tree" else "json" if data[1:2] == b'"' else "ubjson"
    if reader == "json":
        data = _shortened(data)
    if reader == "lightgbm":
        data = _shortened_text(data)
    if len(data) <= LARGEST_BYTES[reader]:
        (folder / reader / name.replace(" ", "_").replace(":", "-")).write_bytes(data)


def _shortened(data: bytes) -> bytes:
    """The first iteration or two, without what no reader reads."""
    model = json.loads(data)
    gradient = model["learner"]["gradient_booster"]
    trees = (gradient.get("gbtree") or gradient)["model"]
    outputs = len(set(trees["tree_info"]))
    kept = outputs * int(trees["gbtree_model_param"].get("num_parallel_tree") or 1)
    if "weight_drop" in gradient:
        kept *= 2
        gradient["weight_drop"] = gradient["weight_drop"][:kept]
    trees["gbtree_model_param"]["num_trees"] = str(kept)
    trees["tree_info"] = trees["tree_info"][:kept]
    trees["trees"] = [_without(tree) for tree in trees["trees"][:kept]]
    if "iteration_indptr" in trees:
        trees["iteration_indptr"] = [i for i in trees["iteration_indptr"] if i <= kept]
    model["learner"].pop("attributes", None)
    return json.dumps(model, separators=(",", ":")).encode()


def _without(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name not in _SKIPPED}


def _shortened_text(data: bytes) -> bytes:
    """The trees, and of their lines those that the reader reads."""
    trees = data[: data.index(b"end of trees")].decode().splitlines()
    skipped = ("split_gain", "leaf_weight", "leaf_count", "internal_", "shrinkage", "feature_infos")
    return "\n".join([line for line in trees if not line.startswith(skipped)]).encode() + (
        b"\nend of trees\n"
    )


def _write_artifacts(folder: Path) -> None:
    numbers = [{"name": f"f{i}", "kind": "number", "source": "candidate.price"} for i in range(4)]
    for name, features, trees in (("every-kind", FEATURES, 1), ("numbers", numbers, 2)):
        with tempfile.TemporaryDirectory() as scratch:
            legacy = write_artifact(
                Path(scratch) / "legacy", features=features, num_trees=trees, depth=2
            )
            export(legacy, Path(scratch) / "scorer.bin")
            (folder / name).write_bytes((Path(scratch) / "scorer.bin").read_bytes())
