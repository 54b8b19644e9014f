from pathlib import Path

import numpy as np
import pytest

from legacy.feature_set import FeatureSet
from legacy.train import load_feature_set
from legacy.training_rows import (
    MIN_ID_COUNT,
    SHARES,
    labelled,
    parts_of,
    read_rows,
    with_vocabularies,
)
from replay.errors import ConfigError
from tests.builders import a_candidate, a_request, batch_of
from tests.legacy.logs import DAYS, write_features, write_logs


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logs(tmp_path_factory.mktemp("logs"), requests=120)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return load_feature_set(str(write_features(tmp_path_factory.mktemp("f") / "f.json")))


def test_only_shown_candidates_with_a_label_are_kept() -> None:
    batch = batch_of(
        a_request(
            "r-1",
            candidates=[
                a_candidate(1, shown=True, click=1),
                a_candidate(2, shown=True, click=None),
                a_candidate(3, shown=False, click=0),
                a_candidate(4, shown=None, click=0),
                a_candidate(5, shown=True, click=0),
            ],
        ),
        a_request("r-2", num_candidates=2),
        a_request("r-3", candidates=[a_candidate(6, shown=True, click=0)]),
    )

    found = labelled(batch)

    assert found.keys.ad_ids.to_pylist() == [1, 5, 6]
    assert found.keys.candidate_offsets.tolist() == [0, 2, 2, 3]
    assert found.column("candidate.click").to_pylist() == [1, 0, 0]


def test_unlabelled_candidates_are_never_extracted(
    logs: Path, features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(number: float) -> float:
        seen.append(1)
        return number

    monkeypatch.setattr("legacy.features.math.isfinite", lambda x: counted(x) == x)
    rows = read_rows(logs, DAYS[:1], features)

    # price, price_bucket, and two fields of the rate: four numbers a labelled candidate.
    assert len(seen) == 4 * len(rows.clicks) == 4 * 120 * 4


def test_rows_carry_request_features_for_each_candidate(logs: Path, features: FeatureSet) -> None:
    rows = read_rows(logs, DAYS[:2], features)

    assert rows.read == 240
    assert len(rows.clicks) == 240 * 4
    assert {len(values) for values in rows.features.values()} == {960}
    assert rows.matrix(features.real).shape == (960, 3)
    hours = rows.features["hour"].reshape(-1, 4)
    assert (hours == hours[:, :1]).all()


def test_no_request_is_in_two_parts(logs: Path, features: FeatureSet) -> None:
    rows = read_rows(logs, DAYS, features)

    parts = parts_of(rows, seed=7)

    owners = [set(part.request_ids) for part in parts.values()]
    assert sum(map(len, owners)) == len(set(rows.request_ids)) == 360
    assert sum(len(part.clicks) for part in parts.values()) == len(rows.clicks)
    for name, part in parts.items():
        assert len(part.clicks) / len(rows.clicks) == pytest.approx(SHARES[name], abs=0.07)
    again = parts_of(rows.take(np.arange(len(rows.clicks))[::-1]), seed=7)
    assert [set(part.request_ids) for part in again.values()] == owners


def test_a_vocabulary_holds_the_ids_seen_often_enough(logs: Path, features: FeatureSet) -> None:
    rows = read_rows(logs, DAYS[:1], features)
    rows.features["ad"] = np.array([7] * MIN_ID_COUNT + [3] * (MIN_ID_COUNT - 1) + [-1] * 9)

    (ad,) = (f for f in with_vocabularies(features, rows).features if f.name == "ad")

    assert ad.parameters["vocabulary"] == [7]


def test_days_without_labels_are_refused(tmp_path: Path, features: FeatureSet) -> None:
    logs = write_logs(tmp_path / "logs", requests=3, shown=0)

    with pytest.raises(ConfigError, match="no candidate of these days is labelled"):
        read_rows(logs, DAYS[:1], features)
