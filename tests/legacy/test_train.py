from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from legacy.artifact import open_artifact
from legacy.gbdt import TreesConfig
from legacy.stack import open_stack
from legacy.train import (
    RegressionConfig,
    Span,
    Training,
    choose_days,
    load_feature_set,
    text_of_days,
    train,
)
from replay.digests import digest_of_path
from replay.errors import ConfigError, LogError
from replay.logs.parquet import open_day, read_shard
from tests.legacy.logs import DAYS, write_features, write_logs


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    root = tmp_path_factory.mktemp("train")
    return Training(
        logs=write_logs(root / "logs"),
        out=root / "legacy",
        features=str(write_features(root / "features.json")),
        days=DAYS[:1],
        held_out=(DAYS[1],),
        regression=RegressionConfig(l2=50.0, steps=60),
    )


@pytest.fixture(scope="module")
def trained(training: Training) -> Path:
    assert train(training).fresh
    return training.out


def test_a_trained_model_beats_the_prior_on_the_held_out_day(trained: Path) -> None:
    opened = open_artifact(trained)

    metrics = opened.model.metrics
    assert metrics["held_out"] == "2019-11-25"
    assert metrics["legacy"]["ne"] < 0.95 < metrics["prior"]["ne"]
    assert metrics["legacy"]["auc"] > 0.65
    assert 0.8 < metrics["legacy"]["calibration"] < 1.25
    assert metrics["legacy"]["rows"] == 1000
    assert len(opened.trees.trees) >= 100
    assert np.median(np.diff(opened.trees.leaf_offsets)) >= 8


def test_the_manifest_says_what_it_was_trained_on(trained: Path) -> None:
    manifest = open_artifact(trained).manifest

    assert manifest["trained_on"] == ["2019-11-24"]
    assert manifest["config"]["held_out"] == "2019-11-25"
    assert manifest["log_digest"].startswith("sha256:")
    assert {"xgboost", "tensorflow", "legacy"} <= manifest["versions"].keys()


def test_a_trained_artifact_opens_and_scores_a_later_day(training: Training, trained: Path) -> None:
    stack = open_stack(trained)
    shard = read_shard(open_day(training.logs, DAYS[2]).shards[0])

    trace = stack.score(shard.batch, capture=list(stack.checkpoints))

    assert 0 < trace["pctr"].min() < trace["pctr"].max() < 1


def test_the_same_training_again_does_nothing_and_says_so(
    training: Training, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_of_path(trained)
    said: list[str] = []
    monkeypatch.setattr("legacy.train.read_rows", lambda *_: pytest.fail("read again"))

    again = train(training, say=said.append)

    assert not again.fresh
    assert "nothing to do" in said[0]
    assert again.metrics == open_artifact(trained).model.metrics
    assert digest_of_path(trained) == before


def test_the_same_training_elsewhere_gives_the_same_bytes(
    training: Training, trained: Path, tmp_path: Path
) -> None:
    train(replace(training, out=tmp_path / "again"))

    assert digest_of_path(tmp_path / "again") == digest_of_path(trained)


def test_another_seed_is_another_training(
    training: Training, trained: Path, tmp_path: Path
) -> None:
    other = train(replace(training, out=tmp_path / "other", seed=8))

    assert other.training_id != open_artifact(trained).training_id


def test_a_damaged_artifact_is_trained_again(
    training: Training, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "damaged"
    train(replace(training, out=out))
    (out / "booster.json").write_bytes(b"{}")

    assert train(replace(training, out=out)).fresh
    assert digest_of_path(out) == digest_of_path(trained)


def test_unused_features_fail_the_training_by_name(training: Training, tmp_path: Path) -> None:
    """The temperature is the same in the whole log; the page's ad has no id in it."""
    features = write_features(
        tmp_path / "features.json",
        {"name": "temperature", "kind": "number", "source": "context.temperature"},
        {"name": "clicks", "kind": "log1p", "source": "candidate.clicks"},
        {"name": "visit_hour", "kind": "hour", "source": "user.last_visit_at",
         "utc_offset_minutes": 0},
    )  # fmt: skip
    out = tmp_path / "legacy"

    with pytest.raises(ConfigError, match="without using") as caught:
        train(replace(training, features=str(features), out=out))

    assert "temperature (no split), visit_hour (no split)." in caught.value.what
    assert "clicks" not in caught.value.what
    assert not out.exists()


def test_a_discrete_feature_without_weight_fails_the_training(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from legacy import regression

    fitted = regression.train_regression

    def without_segment(*args: object, **kwargs: object):
        weights = fitted(*args, **kwargs)
        weights.category_weights[:8] = 0
        return weights

    monkeypatch.setattr("legacy.regression.train_regression", without_segment)

    with pytest.raises(ConfigError, match=r"without using: segment \(no weight\)\."):
        train(replace(training, out=tmp_path / "legacy"))


@pytest.mark.parametrize(
    "config", [TreesConfig(num_trees=20), TreesConfig(num_trees=100, max_depth=2)]
)
def test_too_small_a_forest_fails_the_training(
    training: Training, tmp_path: Path, config: TreesConfig
) -> None:
    with pytest.raises(ConfigError, match="at least 100 and 8 are needed"):
        train(replace(training, out=tmp_path / "legacy", trees=config))


def test_by_default_the_last_day_is_left_and_the_one_before_held_out(
    training: Training,
) -> None:
    first, second, third = (Span(day, day) for day in DAYS)
    assert choose_days(training.logs, None, None) == ((DAYS[0],), (DAYS[1],))
    assert choose_days(training.logs, None, third) == (DAYS[:2], (DAYS[2],))
    assert choose_days(training.logs, first, None) == ((DAYS[0],), (DAYS[1],))
    assert choose_days(training.logs, None, Span(DAYS[1], DAYS[2])) == ((DAYS[0],), DAYS[1:3])
    assert choose_days(training.logs, first, second) == ((DAYS[0],), (DAYS[1],))


def test_days_that_a_log_lacks_within_a_span_are_left_out(training: Training) -> None:
    """A real log has days without a request."""
    long_before = Span(date(2019, 1, 1), DAYS[0])

    assert choose_days(training.logs, long_before, None) == ((DAYS[0],), (DAYS[1],))
    assert text_of_days(DAYS[:2]) == f"{DAYS[0]}:{DAYS[1]}"
    assert text_of_days(DAYS[:1]) == str(DAYS[0])


def test_days_that_do_not_fit_are_refused(training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not lie before"):
        choose_days(training.logs, Span(DAYS[0], DAYS[1]), Span(DAYS[1], DAYS[1]))
    with pytest.raises(ConfigError, match="is left to train on"):
        choose_days(training.logs, None, Span(DAYS[0], DAYS[0]))
    with pytest.raises(ConfigError, match="too few"):
        choose_days(training.logs, Span(DAYS[0], DAYS[-1]), None)
    with pytest.raises(ConfigError, match="no day from 2018"):
        choose_days(training.logs, None, Span(date(2018, 1, 1), date(2018, 12, 31)))
    with pytest.raises(LogError, match="no folder"):
        choose_days(tmp_path / "nowhere", None, None)
    with pytest.raises(LogError, match="no day 2019-12-01"):
        train(replace(training, days=(date(2019, 12, 1),), out=tmp_path / "x"))


def test_an_unknown_feature_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'movie' can not be read") as caught:
        load_feature_set("movie")
    assert "movielens, open_bandit, synthetic" in caught.value.fix
