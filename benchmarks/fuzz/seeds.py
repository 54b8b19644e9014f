"""Real models for the fuzz targets to start from, as small as their kinds allow."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from benchmarks.exactness import lightgbm_cases, xgboost_cases
from legacy.export import export
from tests.artifacts import FEATURES, write_artifact

GOLDEN = Path("tests/cpp_serving/golden")
# Larger inputs would only make each execution slower.
LARGEST_BYTES = 6_000


def write_seeds(folder: Path) -> None:
    """One folder a reader below `folder`."""
    for reader in ("artifact", "json", "ubjson", "lightgbm"):
        (folder / reader).mkdir(parents=True, exist_ok=True)
    for golden in sorted(GOLDEN.glob("xgboost-*.npz")):
        models = np.load(golden)
        for name in models.files:
            reader = {"json": "json", "ubj": "ubjson"}.get(name.rsplit(".", 1)[1])
            data = models[name].tobytes() if reader else b""
            if reader and len(data) <= LARGEST_BYTES:
                (folder / reader / f"{golden.stem}-{name}").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' advice on odd parameters.
        for case in xgboost_cases.xgboost_cases(1) + lightgbm_cases.lightgbm_cases(1):
            _write_case(folder, case.name, case.data)
    _write_artifacts(folder / "artifact")


def _write_case(folder: Path, name: str, data: bytes) -> None:
    if len(data) > LARGEST_BYTES:
        return
    # JSON has a quote after its bracket, UBJSON the type of a length.
    reader = "lightgbm" if data[:4] == b"tree" else "json" if data[1:2] == b'"' else "ubjson"
    (folder / reader / name.replace(" ", "_").replace(":", "-")).write_bytes(data)


def _write_artifacts(folder: Path) -> None:
    numbers = [{"name": f"f{i}", "kind": "number", "source": "candidate.price"} for i in range(4)]
    for name, features, trees in (("every-kind", FEATURES, 3), ("numbers", numbers, 8)):
        with tempfile.TemporaryDirectory() as scratch:
            legacy = write_artifact(
                Path(scratch) / "legacy", features=features, num_trees=trees, depth=3
            )
            export(legacy, Path(scratch) / "scorer.bin")
            (folder / name).write_bytes((Path(scratch) / "scorer.bin").read_bytes())
