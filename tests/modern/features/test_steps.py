from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modern.features.feature_set import compute_features, feature_set_from_json
from modern.features.steps import extended
from replay.errors import ArtifactError
from tests.builders import a_request, a_step, at, batch_of
from tests.modern.small_transformer import feature_set, features_json


def with_history(*entries: dict[str, Any]) -> dict[str, Any]:
    return features_json() | {"history": list(entries)}


def one(entry: dict[str, Any], *records: dict[str, Any]) -> np.ndarray:
    opened = feature_set_from_json(with_history({"name": "f"} | entry), where="a test")
    return compute_features(batch_of(*records), opened)["history.f"]


def test_a_step_feature_has_a_row_for_every_logged_step() -> None:
    batch = batch_of(
        a_request("r-1"), a_request("r-2", history=[a_step(5), a_step(9, advertiser_id=None)])
    )

    found = compute_features(batch, feature_set())

    assert found["history.ad"].tolist() == [5.0, 9.0]
    assert found["history.brand"].tolist() == [2**40 + 1, -1]
    assert feature_set().axis("history.brand") == "step"


def test_a_step_may_be_crossed_with_its_request() -> None:
    """Each step meets its own request's value."""
    records = [
        a_request(f"r-{i}", logged_at=at(f"2019-11-30 0{i}:00"), history=[a_step()] * i)
        for i in range(1, 4)
    ]
    entry = {"kind": "recency", "since": "history.at", "until": "logged_at"}

    hours = np.expm1(one(entry, *records).astype(np.float64))

    np.testing.assert_allclose(hours, np.repeat([41.0, 42.0, 43.0], [1, 2, 3]), rtol=1e-5)


def test_a_feature_that_is_like_a_candidates_takes_its_parameters() -> None:
    opened = feature_set()

    step = opened["history.brand"]

    assert step.vocabulary == opened["advertiser"].vocabulary  # type: ignore[attr-defined]
    assert opened.likes == {"history.brand": "advertiser"}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "rate"}, "'rate' is no kind of step feature"),
        ({"kind": "number", "source": "user.age_days"}, "reads no field of the history"),
        ({"kind": "number", "source": "candidate.price"}, "is no source"),
        ({"kind": "number"}, "lacks parameters: source"),
        ({"kind": "id", "source": "history.ad_id"}, "lacks parameters: vocabulary"),
        ({"kind": "id", "source": "history.ad_id", "like": "brand"}, "known: advertiser, price_b"),
        (
            {"kind": "id", "source": "history.ad_id", "like": "segment"},
            "no discrete feature of the",
        ),
        (
            {"kind": "id", "source": "history.ad_id", "like": "advertiser", "vocabulary": [1]},
            "another number of codes",
        ),
    ],
)
def test_a_step_feature_that_breaks_a_rule_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        feature_set_from_json(with_history({"name": "f"} | entry), where="a test")


@pytest.mark.parametrize("history", [{}, ["f"], [{"kind": "number", "source": "history.ad_id"}]])
def test_a_list_that_is_none_is_refused(history: Any) -> None:
    with pytest.raises(ArtifactError):
        feature_set_from_json(features_json() | {"history": history}, where="a test")


def test_a_history_field_is_no_source_of_a_feature_of_the_request() -> None:
    value = features_json()
    value["features"][0] = {"name": "x", "kind": "number", "source": "history.ad_id"}

    with pytest.raises(ArtifactError, match="no source"):
        feature_set_from_json(value, where="a test")


def test_a_feature_set_is_extended_by_a_file_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    steps = features_json()["history"]
    path.write_text(json.dumps({"format": "parity.history_features/1", "history": steps}))
    bare = {name: value for name, value in features_json().items() if name != "history"}

    whole = extended(json.dumps(bare).encode(), path)

    assert feature_set_from_json(json.loads(whole), where="a test") == feature_set()
    with pytest.raises(ArtifactError, match="has a 'history' of its own"):
        extended(whole, path)
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="format"):
        extended(json.dumps(bare).encode(), path)


@pytest.mark.parametrize("log", ["synthetic", "movielens"])
def test_the_step_features_of_a_log_fit_its_feature_set(log: str) -> None:
    root = Path(__file__).parents[3]
    legacy = json.loads((root / "legacy" / "feature_sets" / f"{log}.json").read_text())
    for feature in legacy["features"]:
        if feature["kind"] == "id":
            feature["vocabulary"] = [1, 2]
    whole = extended(
        json.dumps(legacy | {"training_id": "0" * 32}).encode(),
        root / "modern" / "feature_sets" / f"{log}.json",
    )

    opened = feature_set_from_json(json.loads(whole), where="a test")

    assert len(opened.steps) >= 4 and opened.likes
