"""A misread log: the stack's own code runs on it, and its rows keep their labels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from parity.log_plants import LOG_KINDS, Misreading, misread, readable_fields
from parity.planting import parse_plant, plant
from replay.errors import ConfigError, LogError
from tests.builders import random_batch
from tests.toys import ToyStack, toy_batch


@pytest.mark.parametrize("kind", list(LOG_KINDS))
def test_every_kind_keeps_the_schema_and_the_other_fields(kind: str) -> None:
    batch = random_batch(12, 4, seed=5)
    fields = [
        f for f, type_ in readable_fields(batch.records.schema) if LOG_KINDS[kind].fits(type_)
    ]
    assert fields

    for field in fields:
        found = misread(batch, [Misreading(kind=kind, field=field)])

        assert found.records.schema == batch.records.schema
        assert found.keys.same_rows(batch.keys)
        others = {f for f, _ in readable_fields(batch.records.schema)} - {field}
        # As text: NaN equals NaN there.
        assert all(str(found.column(one)) == str(batch.column(one)) for one in others)


def test_an_hour_more_moves_what_reads_the_time_and_nothing_else() -> None:
    stack, batch = ToyStack(), toy_batch()
    everything = list(stack.checkpoints)
    bare = stack.score(batch, capture=everything)

    planted = plant(stack, [parse_plant("daylight_saving:log.logged_at")])
    found = planted.score(batch, capture=everything, given=bare.values)

    differing = {
        name
        for name in everything
        if not np.array_equal(found[name], bare[name], equal_nan=bare[name].dtype.kind == "f")
    }
    assert differing == {"features.hour"}
    assert np.array_equal(found["features.hour"], (bare["features.hour"] + 1) % 24)
    assert found.keys.same_rows(batch.keys)


def test_misread_fields_and_other_plants_stand_side_by_side() -> None:
    stack, batch = ToyStack(), toy_batch()
    bare = stack.score(batch, capture=list(stack.checkpoints))

    texts = ["null_as_zero:log.candidate.price", "scale=2:features.affinity", "weight:left"]
    planted = plant(stack, [parse_plant(text) for text in texts])
    found = planted.score(batch, capture=["features.price", "features.affinity"])

    missing = np.isnan(bare["features.price"])
    assert missing.any()
    assert (found["features.price"][missing] == 0).all()
    assert np.array_equal(found["features.affinity"], 2 * bare["features.affinity"], equal_nan=True)


def test_what_can_not_be_misread_is_refused_with_what_can() -> None:
    with pytest.raises(ConfigError, match="known: local_time"):
        plant(ToyStack(), [parse_plant("scale:log.logged_at")])
    with pytest.raises(ConfigError, match="can not misread a field of type string"):
        misread(random_batch(2, 2, seed=0), [Misreading(kind="local_time", field="context.device")])
    with pytest.raises(LogError, match="no field"):
        misread(toy_batch(2), [Misreading(kind="local_time", field="context.nowhere")])


def test_identifiers_and_labels_are_not_among_the_fields_to_misread() -> None:
    fields = dict(readable_fields(toy_batch(2).records.schema))

    assert "candidate.ad_id" not in fields
    assert "candidate.click" not in fields
    assert fields["candidate.price"] == pa.float64()
