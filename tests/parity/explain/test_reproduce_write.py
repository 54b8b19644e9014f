"""A cause becomes one request, as small as can be, that shows it and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pytest

from parity.explain.reproduce import check_bundle
from parity.explain.reproduce_bundle import read_bundle
from parity.explain.reproduce_write import write_bundles
from parity.plan import Plan
from replay.registry import StackSpec
from replay.request import RequestBatch
from replay.trace import EMPTY, Array, Trace
from tests.builders import random_batch
from tests.parity.explain.bundles import (
    BATCH,
    TOY,
    in_process,
    named,
    planted,
    the_bundle,
    toy,
    written,
)
from tests.toys import ToyStack

REAL = [place for place, one in ToyStack().checkpoints.items() if one.dtype.startswith("float")]


@pytest.mark.parametrize("place", REAL)
def test_a_cause_is_one_candidate_that_shows_it_and_nothing_else(
    place: str, tmp_path: Path
) -> None:
    challenger = toy(**{place: 1.25})

    bundle, request = read_bundle(the_bundle(written(tmp_path, challenger)))

    assert bundle.checkpoint == place
    assert (request.num_requests, request.num_candidates) == (1, 1)
    assert request.keys.num_rows("step") == 0
    assert named(TOY, challenger, request) == [place]
    assert bundle.also == ()


def test_only_the_fields_that_the_cause_needs_are_left(tmp_path: Path) -> None:
    bundle, request = read_bundle(the_bundle(written(tmp_path, toy(features__price=1.5))))

    assert set(bundle.shrunk.kept) == {"candidate.price"}  # everything else is null
    assert request.column("user.age_days").null_count == 1
    assert request.column("candidate.affinity").null_count == 1
    assert request.column("candidate.bid_micros").null_count == 0
    assert bundle.values.challenger == pytest.approx(1.5 * bundle.values.reference)


def test_an_order_of_candidates_needs_two_of_them(tmp_path: Path) -> None:
    challenger = planted(TOY, "permute_candidates:features.category")

    _, request = read_bundle(the_bundle(written(tmp_path, challenger)))

    assert request.num_candidates == 2
    assert named(TOY, challenger, request) == ["features.category"]


def test_of_a_cause_the_way_it_differs_stays(tmp_path: Path) -> None:
    """Missing prices become -1: the request that is left still misses its price."""
    challenger = planted(TOY, "constant_default:features.price")

    bundle, request = read_bundle(the_bundle(written(tmp_path, challenger)))

    assert (bundle.values.reference, bundle.values.challenger) == (None, -1.0)
    assert request.column("candidate.price").null_count == 1


def test_two_mistakes_at_one_place_are_not_exchanged(tmp_path: Path) -> None:
    """A form without prices would be smaller, and show the other mistake."""
    priced = ~np.asarray(BATCH.column("candidate.price").is_null())
    first = priced[BATCH.keys.candidate_offsets[:-1]]
    challenger = planted(TOY, "constant_default:features.price", "scale:features.price")

    found = written(tmp_path, challenger, batch=BATCH.take(np.flatnonzero(first)))

    bundle, request = read_bundle(the_bundle(found))
    assert request.num_candidates == 1
    assert bundle.values.reference is not None
    assert bundle.values.challenger == pytest.approx(1.5 * bundle.values.reference)


def test_another_cause_is_shrunk_away_where_that_can_be(tmp_path: Path) -> None:
    """Without an age the second bug would show too: the age stays."""
    challenger = planted(TOY, "scale:features.price", "constant_default:features.age_days")

    found = written(tmp_path, challenger)

    assert [one.checkpoint for one in found] == ["features.age_days", "features.price"]
    for one in found:
        assert one.path is not None
        bundle, request = read_bundle(one.path)
        assert named(TOY, challenger, request) == [one.checkpoint]
        assert bundle.also == ()
        has_age = request.column("user.age_days").null_count == 0
        assert has_age == (one.checkpoint == "features.price")


def test_each_of_several_causes_has_its_own_bundle(tmp_path: Path) -> None:
    challenger = planted(
        TOY, "constant_default:features.price", "missing_zero_swap:features.age_days", "scale:left"
    )

    found = written(tmp_path, challenger)

    assert [one.checkpoint for one in found] == ["features.age_days", "features.price", "left"]
    for number, one in enumerate(found, start=1):
        assert one.path == tmp_path / "causes" / f"{number}-{one.checkpoint}"
        bundle, request = read_bundle(one.path)
        assert bundle.checkpoint == one.checkpoint
        # The scaled layer can not be made to agree, the features can.
        assert set(named(TOY, challenger, request)) <= {one.checkpoint, "left"}


def test_causes_beyond_the_limit_are_said(tmp_path: Path) -> None:
    found = written(tmp_path, toy(features__age_days=1.5, features__price=1.5, left=1.5), limit=2)

    assert [one.path is not None for one in found] == [True, True, False]
    assert "first 2" in found[2].note


class DependsOnTheBatch(ToyStack):
    """Gives a wrong price whenever it is not asked alone."""

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        self._bugs = {"features.price": lambda v: v * 2} if batch.num_requests > 1 else {}
        return super().score(batch, capture=capture, given=given)


def test_a_cause_that_no_request_shows_alone_has_a_note(tmp_path: Path) -> None:
    reference, challenger = ToyStack(), DependsOnTheBatch()
    found, sides = in_process(reference, challenger, BATCH)

    (one,) = write_bundles(tmp_path, found, sides, Plan())

    assert (one.checkpoint, one.path) == ("features.price", None)
    assert "depends on the batch" in one.note
    assert not list(tmp_path.rglob("bundle.json"))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> StackSpec:
    for module in ("torch", "xgboost"):
        pytest.importorskip(module, reason=f"the port needs {module}")
    from tests.artifacts import write_artifact

    artifact = write_artifact(tmp_path_factory.mktemp("port") / "legacy", num_trees=8)
    return StackSpec(name="port", opener="modern.port.stack:open_stack", artifact=artifact)


@pytest.mark.parametrize(
    ("bug", "candidates"),
    [
        ("bucket_edge_side:features.price_bucket", 1),
        ("hash_encoding:features.title_hash", 1),
        ("log_for_log1p:features.ad_clicks", 1),
        ("nan_direction:gbdt.leaves", 1),
        ("permute_candidates:features.price", 2),
        ("permute_candidates:rank", 2),
    ],
)
def test_a_bug_in_the_port_is_one_or_two_candidates(
    port: StackSpec, tmp_path: Path, bug: str, candidates: int
) -> None:
    challenger = planted(port, bug)

    path = the_bundle(
        written(tmp_path, challenger, reference=port, batch=random_batch(40, 8, seed=5))
    )

    bundle, request = read_bundle(path)
    assert bundle.checkpoint == bug.partition(":")[2]
    assert request.num_candidates == candidates
    assert named(port, challenger, request) == [bundle.checkpoint]
    assert bundle.also == ()


def test_a_bug_in_the_port_fails_and_passes_in_its_own_process(
    port: StackSpec, tmp_path: Path
) -> None:
    challenger = planted(port, "bucket_edge_side:features.price_bucket")
    path = the_bundle(
        written(tmp_path, challenger, reference=port, batch=random_batch(40, 8, seed=5))
    )

    assert check_bundle(path).status == "failing"
    assert check_bundle(path, challenger=port).status == "mended"
