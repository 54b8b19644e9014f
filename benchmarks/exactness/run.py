"""Compares the scorer with XGBoost and LightGBM on random models and rows at their edges.

    make long                                                   # 10^7 rows, resumable
    python -m benchmarks.exactness.run --rows 200000 --seconds 60

Every seed draws one model of each objective and each way to grow, and rows at their thresholds,
the neighbours of these, NaN, zeros, infinities and denormals. Finished seeds are kept in
results/exactness.json: a run that was stopped goes on after them. Exit code 1 at any difference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import xgboost

from benchmarks.exactness.cases import Case, compare, edge_rows
from benchmarks.exactness.lightgbm_cases import lightgbm_cases
from benchmarks.exactness.xgboost_cases import xgboost_cases
from cpp_serving._core import Scorer

RESULTS = Path(__file__).parent / "results" / "exactness.json"
_ROWS_A_CASE = 8000
# Seeds of the tests' own models lie below.
_FIRST_SEED = 1000


def main() -> int:
    """Go on until enough rows are compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else _nothing()
    while done["rows"] < arguments.rows and time.monotonic() < until:
        _add_seed(done)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    print(f"{done['rows']:,} rows, {done['leaves']:,} leaves of {done['models']:,} models; "
          f"{len(done['differences'])} models differ; the largest margin difference is "
          f"{done['largest_margin_difference']:.2f} of what float32 sums allow")  # fmt: skip
    for line in done["differences"]:
        print(line)
    return 1 if done["differences"] else 0


def _nothing() -> dict[str, Any]:
    return {
        "libraries": {"xgboost": xgboost.__version__, "lightgbm": lightgbm.__version__},
        "seeds": 0, "models": 0, "rows": 0, "leaves": 0, "largest_margin_difference": 0.0,
        "differences": [],
    }  # fmt: skip


def _add_seed(done: dict[str, Any]) -> None:
    seed = _FIRST_SEED + 2 * done["seeds"]  # A seed's second half of models uses the next one.
    kernels = Scorer.kernels()
    for i, case in enumerate(_cases(seed)):
        rows = edge_rows(case, _ROWS_A_CASE, seed=seed)
        found = compare(case, rows, kernel=kernels[(seed // 2 + i) % len(kernels)])
        done["models"] += 1
        done["rows"] += found.rows
        done["leaves"] += found.leaves
        done["largest_margin_difference"] = max(done["largest_margin_difference"], found.margin)
        done["differences"] += [f"{case.name}: {wrong}" for wrong in found.wrong]
    done["seeds"] += 1


def _cases(seed: int) -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' advice on odd parameters.
        yield from xgboost_cases(seed)
        yield from lightgbm_cases(seed)


if __name__ == "__main__":
    sys.exit(main())
