"""Known bugs: each is named where it was planted, and nothing else is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from parity.compare.alignment import align
from parity.explain.causes import amplified, find_causes, unexplained
from parity.explain.probe import probe
from parity.plan import Plan
from parity.planting import Plant, available, plant
from tests.toys import ToyStack, bugs_of, nudged, toy_batch, toys

BATCH = toy_batch(12)
GRAPH = ToyStack().checkpoints
PLACES = tuple(GRAPH)


def named(reference, challenger, batch=BATCH) -> list[str]:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    found = probe(reference, challenger, batch, alignment)
    assert unexplained(found) == ()
    return [cause.checkpoint for cause in find_causes(found)]


@pytest.mark.parametrize("place", PLACES)
def test_one_bug_is_named_where_it_stands_and_nowhere_else(place: str) -> None:
    assert named(*toys(bugs_of(place))) == [place]


@pytest.mark.parametrize("pair", list(itertools.combinations(PLACES, 2)), ids="+".join)
def test_any_two_bugs_are_both_named_in_one_run(pair: tuple[str, str]) -> None:
    """Among them: parallel branches, and a later fault beneath an earlier one."""
    assert named(*toys(bugs_of(*pair))) == list(pair)


def test_all_places_at_once_are_all_named_in_causal_order() -> None:
    assert named(*toys(bugs_of(*PLACES))) == list(PLACES)


def test_two_faults_that_cancel_are_both_named_though_the_outputs_agree() -> None:
    up, down = np.float32(0.25), np.float32(-0.25)
    # The logit is left minus right: the same shift in a channel of both leaves it unchanged.
    shift = {
        "left": lambda v: v + np.array([up, 0, down], np.float32),
        "right": lambda v: v + np.array([up, down, 0], np.float32),
    }
    reference, challenger = toys(shift)
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    found = probe(reference, challenger, BATCH, alignment)

    assert [cause.checkpoint for cause in find_causes(found)] == ["left", "right"]
    assert found.total["logit"].differing == found.total["rank"].differing == 0


def test_a_fault_in_one_channel_of_one_row_is_enough() -> None:
    def one_value(values):
        changed = values.copy()
        changed[17, 1] += np.float32(0.01)
        return changed

    assert named(*toys({"right": one_value})) == ["right"]


def test_a_tie_broken_another_way_is_named_though_every_value_agrees() -> None:
    reference, challenger = toys({"rank": lambda ranks: np.where(ranks < 2, 1 - ranks, ranks)})
    tie = {"ecpm_micros": np.zeros(BATCH.num_candidates)}
    tied = _Tied(reference, tie), _Tied(challenger, tie)

    assert named(*tied) == ["rank"]


class _Tied:
    """A stack whose candidates are all worth the same."""

    def __init__(self, stack, tie):
        self._stack, self._tie = stack, tie

    def __getattr__(self, name):
        return getattr(self._stack, name)

    def score(self, batch, *, capture, given=None):
        trace = self._stack.score(batch, capture=capture, given={**self._tie, **(given or {})})
        values = {**trace.values, **{n: v for n, v in self._tie.items() if n in trace.values}}
        return type(trace)(stack=trace.stack, keys=trace.keys, values=values)


VALUE_PLANTS = [
    Plant(kind=kind.kind, checkpoint=place)
    for kind in available(GRAPH)
    for place in kind.checkpoints
]


def is_felt(one: Plant) -> bool:
    """Whether it moves a value here: whole hours stay as they are when digits are cut."""
    reference, challenger = toys()
    place = one.checkpoint
    ours, theirs = (
        side.score(BATCH, capture=[place]).values[place]
        for side in (reference, plant(challenger, [one]))
    )
    return not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


@pytest.mark.parametrize("one", VALUE_PLANTS, ids=str)
def test_a_value_plant_of_any_kind_is_named_at_its_place(one: Plant) -> None:
    reference, challenger = toys()
    expected = [one.checkpoint] if is_felt(one) else []

    assert named(reference, plant(challenger, [one])) == expected


def test_nearly_every_plant_is_felt() -> None:
    silent = {one.kind for one in VALUE_PLANTS} - {one.kind for one in VALUE_PLANTS if is_felt(one)}

    assert silent == {"value_for_missing"}  # the toys' log holds no such value
    assert sum(map(is_felt, VALUE_PLANTS)) > 0.9 * len(VALUE_PLANTS)


@pytest.mark.parametrize("fault", ToyStack().faults(), ids=lambda fault: fault.kind)
def test_a_real_fault_is_named_at_its_place(fault) -> None:
    reference, challenger = toys()

    assert named(reference, challenger.planted(fault)) == [fault.checkpoint]


@pytest.mark.parametrize(
    "places",
    [
        ("features.hour", "left"),
        ("features.price", "features.affinity", "right", "pctr"),
        ("inner.mix", "left", "logit", "ecpm_micros"),
    ],
    ids="+".join,
)
def test_plants_upon_plants_are_all_named(places: tuple[str, ...]) -> None:
    reference, challenger = toys()
    plants = [Plant(kind="scale", checkpoint=place) for place in places]

    assert named(reference, plant(challenger, plants)) == list(places)


def test_a_plant_on_top_of_the_challengers_own_bug_adds_one_name() -> None:
    reference, challenger = toys(bugs_of("features.category"))

    planted = plant(challenger, [Plant(kind="scale", checkpoint="right")])

    assert named(reference, planted) == ["features.category", "right"]


REAL_FEATURES = ("features.age_days", "features.price", "features.affinity")


@pytest.mark.parametrize("places", [*itertools.combinations(REAL_FEATURES, 1), REAL_FEATURES])
def test_one_ulp_of_a_real_feature_is_nobodys_fault(places) -> None:
    reference, challenger = toys(dict.fromkeys(places, nudged))
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    found = probe(reference, challenger, BATCH, alignment)

    assert find_causes(found) == unexplained(found) == amplified(found) == ()


def test_sums_taken_in_another_order_are_nobodys_fault() -> None:
    class Backwards(ToyStack):
        def __init__(self):
            super().__init__("challenger")
            self._steps["logit"] = lambda _, v: (
                (v["encoded.bucket"] / np.float32(16)).astype(np.float32)
                - v["right"][:, ::-1].cumsum(axis=1)[:, -1]
                + v["left"][:, ::-1].cumsum(axis=1)[:, -1]
            )

    assert named(ToyStack("reference"), Backwards()) == []


def test_equal_stacks_have_no_cause() -> None:
    assert named(*toys()) == []
