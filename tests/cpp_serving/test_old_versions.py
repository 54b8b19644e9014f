"""Files that XGBoost 1.0 to 3.4 and LightGBM 2.2 and 3.3 saved score as those versions scored them.

The golden files, and the programs that wrote them, are in golden/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cpp_serving._core import TreeScorer

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.npz"))
VERSIONS = (
    "1.0.2", "1.1.1", "1.2.1", "1.3.3", "1.5.2", "1.6.2", "1.7.6", "2.0.3", "2.1.4",
    "3.0.5", "3.1.3", "3.3.0", "3.4.1",
)  # fmt: skip
FORMATS = {"lightgbm-2.2.3": "v2", "lightgbm-3.3.5": "v3"}
MODELS = [
    (path, name)
    for path in GOLDEN
    for name in np.load(path).files
    if name.endswith((".json", ".ubj", ".txt"))
]


def stored(path: Path, name: str) -> NDArray[Any]:
    with np.load(path) as golden:
        return golden[name]


def test_there_is_a_file_of_each_generation() -> None:
    assert [path.stem for path in GOLDEN] == [
        *FORMATS,
        *(f"xgboost-{version}" for version in VERSIONS),
    ]
    assert len(MODELS) > 300


@pytest.mark.parametrize(("path", "name"), MODELS, ids=lambda x: getattr(x, "stem", x))
def test_a_saved_model_scores_as_the_version_that_saved_it(path: Path, name: str) -> None:
    kind = name.rsplit(".", 1)[0]
    scorer = TreeScorer.from_bytes(stored(path, name).tobytes(), name)
    rows, kept = stored(path, f"{kind}.rows"), slice(None)
    if path.stem == "xgboost-1.6.2" and kind.startswith("categories"):
        # Up to 1.6 what is no category went the way of a missing value; from 1.7 on, and here, left.
        kept = rows[:, 1] >= 0
        assert 0.8 < kept.mean() < 1
    rows = rows[kept]

    leaves = scorer.leaves(rows)
    margins = scorer.margins(rows)
    scores = scorer.score(rows)

    assert scorer.version == FORMATS.get(path.stem, path.stem.removeprefix("xgboost-"))
    np.testing.assert_array_equal(
        leaves, stored(path, f"{kind}.leaves")[kept].reshape(leaves.shape)
    )
    # Float32 sums of at most 24 leaves below 4.
    np.testing.assert_allclose(
        margins, stored(path, f"{kind}.margins")[kept].reshape(margins.shape), rtol=0, atol=2e-6
    )
    np.testing.assert_allclose(
        scores, stored(path, f"{kind}.scores")[kept].reshape(scores.shape), rtol=4e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if path.stem not in FORMATS], ids=lambda path: path.stem
)
def test_the_weights_of_dart_are_not_all_one_in_the_golden_files(path: Path) -> None:
    """Else a reader that ignores them would pass; their place changed with 3.3."""
    booster = json.loads(stored(path, "dart.json").tobytes())["learner"]["gradient_booster"]
    weights = booster.get("weight_drop") or booster["model"]["weight_drop"]

    assert (booster["name"] == "gbtree") is (path.stem[-5:-2] in {"3.3", "3.4"})
    assert len(set(weights)) > 1
