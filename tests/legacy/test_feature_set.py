import json
from importlib.resources import files
from typing import Any

import pytest

import legacy
from legacy.feature_set import feature_set_from_json
from replay.errors import ArtifactError, ConfigError
from tests.artifacts import FEATURES, feature_set

KINDS = {
    "number", "log1p", "hour", "weekday", "recency", "rate", "tokens", "history_count",
    "history_recency", "history_matches", "bucket", "hash", "id",
}  # fmt: skip


def with_features(*features: Any, **top: Any) -> dict[str, Any]:
    return {
        "format": "parity.features/1",
        "training_id": "t",
        "money": None,
        "features": list(features),
    } | top


NUMBER = {"name": "price", "kind": "number", "source": "candidate.price"}
BUCKET = {"name": "b", "kind": "bucket", "source": "user.age", "edges": [1, 2]}
HASH = {
    "name": "h", "kind": "hash", "sources": ["user.a"], "seed": 1, "buckets": 8,
    "normalise": "none",
}  # fmt: skip
ID = {"name": "ad", "kind": "id", "source": "candidate.ad_id", "vocabulary": [1, 5]}


def test_a_feature_set_is_written_as_it_was_read() -> None:
    value = with_features(NUMBER, BUCKET, HASH, ID, money="candidate.bid_micros")

    assert feature_set_from_json(value, where="x", trained=True).to_json() == value


def test_cardinalities_are_those_of_the_kinds() -> None:
    features = feature_set_from_json(with_features(BUCKET, HASH, ID), where="x", trained=True)

    assert [f.cardinality for f in features.discrete] == [4, 8, 3]


def test_the_test_features_cover_every_kind() -> None:
    assert {feature.kind for feature in feature_set(FEATURES, money=None).features} == KINDS


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "format is 'list'"),
        (with_features(NUMBER, format="parity.features/2"), "format is 'parity.features/2'"),
        (with_features(), "not a list of features"),
        (with_features(NUMBER, training_id=None), "no training id"),
        (with_features(NUMBER, money="user.purse"), "'money' is 'user.purse'"),
        (with_features(NUMBER, NUMBER), "two features are called 'price'"),
        (with_features(NUMBER | {"name": "A b"}), "'A b' is not lower-case"),
        (with_features(NUMBER | {"kind": "sine"}), "unknown kind 'sine'"),
        (with_features(NUMBER | {"kind": ["id"]}), "unknown kind"),
        (with_features(NUMBER | {"scale": 2}), r"unknown parameters \['scale'\]"),
        (with_features({"name": "p", "kind": "number"}), "lacks its parameter 'source'"),
        (with_features(NUMBER | {"source": "history.at"}), "'source' is \"history.at\""),
        (with_features(NUMBER | {"source": "price"}), "'source' is \"price\""),
        (with_features(BUCKET | {"edges": [2, 1]}), "'edges'"),
        (with_features(BUCKET | {"edges": [1, 1]}), "'edges'"),
        (with_features(BUCKET | {"edges": []}), "'edges'"),
        (with_features(BUCKET | {"edges": [float("inf")]}), "'edges'"),
        (with_features(HASH | {"buckets": 1}), "'buckets' is 1"),
        (with_features(HASH | {"buckets": True}), "'buckets' is true"),
        (with_features(HASH | {"seed": 2**32}), "'seed'"),
        (with_features(HASH | {"sources": []}), "'sources'"),
        (with_features(HASH | {"sources": ["user.a"] * 4}), "'sources'"),
        (with_features(HASH | {"normalise": "upper"}), "'normalise'"),
        (with_features(ID | {"vocabulary": [5, 1]}), "'vocabulary'"),
        (with_features(ID | {"vocabulary": [-1]}), "'vocabulary'"),
        (with_features({"name": "ad", "kind": "id", "source": "candidate.ad_id"}), "'vocabulary'"),
    ],
)
def test_a_malformed_feature_set_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        feature_set_from_json(value, where="features.json", trained=True)


@pytest.mark.parametrize("name", ["open_bandit", "synthetic"])
def test_the_shipped_feature_sets_have_at_least_20_features(name: str) -> None:
    text = (files(legacy) / "feature_sets" / f"{name}.json").read_text(encoding="utf-8")

    features = feature_set_from_json(json.loads(text), where=name, trained=False, error=ConfigError)

    assert len(features.features) >= 20
    assert {"hour", "rate", "bucket", "hash", "id", "recency"} <= {
        feature.kind for feature in features.features
    }


def test_the_synthetic_feature_set_has_every_kind() -> None:
    text = (files(legacy) / "feature_sets" / "synthetic.json").read_text(encoding="utf-8")

    features = feature_set_from_json(json.loads(text), where="x", trained=False)

    assert {feature.kind for feature in features.features} == KINDS
