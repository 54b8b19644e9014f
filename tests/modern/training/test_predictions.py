from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from modern.__main__ import main
from modern.transformer.stack import open_stack
from replay.logs.parquet import list_days, open_day, read_shard
from tests.modern.small_synthetic import write_features, write_log

STEPS = """{"format": "parity.history_features/1", "history": [
 {"name": "category", "kind": "hash", "sources": ["history.category"], "seed": 3, "buckets": 64,
  "normalise": "none"},
 {"name": "age", "kind": "recency", "since": "history.at", "until": "logged_at"}]}"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    logs = write_log(folder / "logs", days=4, requests=80)
    write_features(folder / "features.json", logs)
    (folder / "steps.json").write_text(STEPS)
    command = ["train", "--logs", str(logs), "--features", str(folder / "features.json")]
    more = ["--history", str(folder / "steps.json"), "--tasks", "click,view_2s", "--epochs", "2"]
    assert main([*command, *more, "--out", str(folder / "artifact")]) == 0
    return folder


def predicted(place: Path, name: str, *more: str, number: int = 3) -> dict[str, np.ndarray]:
    day = list_days(place / "logs")[number].isoformat()
    paths = ["--artifact", str(place / "artifact"), "--logs", str(place / "logs")]
    out = place / f"{name}.parquet"
    assert main(["predict", *paths, "--days", day, "--out", str(out), *more]) == 0
    table = pq.read_table(out)
    return {n: table[n].to_numpy() for n in table.column_names}


def test_predictions_are_those_of_the_stack_for_every_labelled_candidate(place: Path) -> None:
    found = predicted(place, "own")

    batch = read_shard(open_day(place / "logs", list_days(place / "logs")[3]).shards[0]).batch
    labelled = batch.column("candidate.click").is_valid().to_numpy(zero_copy_only=False)
    pctr = open_stack(place / "artifact").score(batch, capture=("pctr",))["pctr"][labelled]
    np.testing.assert_allclose(found["p_click"], pctr, rtol=1e-5)
    assert len(found["ad_id"]) == 400
    clicks = batch.column("candidate.click").to_numpy(zero_copy_only=False)[labelled]
    np.testing.assert_array_equal(found["label_click"], clicks)
    assert 100 < np.isnan(found["label_view_2s"]).sum() < 300, "images are not watched"
    assert not np.array_equal(found["p_click"], found["raw_click"])


def test_another_history_changes_what_is_predicted_and_nothing_else(place: Path) -> None:
    own = predicted(place, "own")
    others = predicted(place, "others", "--histories", "others")
    shuffled = predicted(place, "shuffled", "--histories", "shuffled")
    again = predicted(place, "again", "--histories", "shuffled")

    for other in (others, shuffled):
        np.testing.assert_array_equal(own["request_id"], other["request_id"])
        np.testing.assert_array_equal(own["label_click"], other["label_click"])
        assert not np.array_equal(own["p_click"], other["p_click"])
    np.testing.assert_array_equal(shuffled["p_click"], again["p_click"])


def test_an_order_that_no_step_can_have_changes_nothing(place: Path) -> None:
    """Requests with at most one step have one order; theirs must come out as they were."""
    own = predicted(place, "own", number=0)
    shuffled = predicted(place, "shuffled", "--histories", "shuffled", number=0)

    batch = read_shard(open_day(place / "logs", list_days(place / "logs")[0]).shards[0]).batch
    lengths = np.diff(batch.keys.step_offsets)
    ids = batch.keys.request_ids.to_numpy(zero_copy_only=False)
    short = np.isin(own["request_id"], ids[lengths <= 1])
    assert 10 < short.sum() < 300
    np.testing.assert_allclose(own["p_click"][short], shuffled["p_click"][short], rtol=1e-5)
    assert (own["p_click"][~short] != shuffled["p_click"][~short]).any()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--histories", "none", "own, others, shuffled"), ("--days", "2031-01-01", "no day from")],
)
def test_what_can_not_be_predicted_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, says: str
) -> None:
    paths = ["--artifact", str(place / "artifact"), "--logs", str(place / "logs")]
    days = ["--days", "2026-01-08", "--out", str(place / "no.parquet")]

    assert main(["predict", *paths, *days, option, value]) == 2

    assert says in capsys.readouterr().err
