"""A judge counts what is named of what was planted, and can say that it was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from parity.drill.combined import draw_combinations
from parity.drill.counts import count
from parity.plan import Plan
from parity.tolerance import PlannedTolerance
from replay.errors import StackError
from replay.trace import Array
from tests.parity.drill.drilled import a_bench, a_case, a_judge, chosen
from tests.toys import Bug, ToyStack, bugs_of


def test_every_mistake_of_the_catalogue_is_named_where_it_stands() -> None:
    bench = a_bench()
    judge, cases = a_judge(bench), chosen(bench, ToyStack()).cases

    outcomes = [judge.look([case]) for case in cases]

    totals = count(outcomes)
    assert {case.means for case in cases} == {"real", "log", "value"}
    assert totals.planted > 50
    assert totals.above_floor == totals.detected == totals.right_place > 45
    assert totals.wrong_names == 0
    assert totals.diagnosed > 0.7 * totals.with_class


def test_two_and_three_at_a_time_are_all_named() -> None:
    bench = a_bench()
    judge = a_judge(bench)
    alone = [judge.look([case], explain=False) for case in chosen(bench, ToyStack()).cases]

    together = [
        judge.look(cases, explain=False)
        for size in (2, 3)
        for cases in draw_combinations(alone, size=size, count=12, seed=1)
    ]

    assert len(together) == 24
    assert all(one.is_right for one in together)


def test_a_tolerance_that_hides_a_mistake_is_a_miss() -> None:
    """The floor is what was measured, not what the plan allows."""
    wide = PlannedTolerance(kind="absolute", value=1e9, why="a test: it allows anything")
    judge = a_judge(a_bench(plan=Plan(tolerances={"left": wide})))

    outcome = judge.look([a_case("scale:left")])

    assert outcome.is_above
    assert outcome.missed == ("left",)
    assert not outcome.is_detected


def test_a_name_where_nothing_was_planted_is_wrong() -> None:
    judge = a_judge(a_bench())

    outcome = judge.look([a_case("scale:features.price", expected="features.affinity")])

    assert outcome.wrong == ("features.price",)
    assert not outcome.is_right


def test_a_diagnosis_of_another_class_is_wrong_and_none_is_unexplained() -> None:
    judge = a_judge(a_bench())

    right = judge.look([a_case("scale=60:features.price", told=("scale",))])
    wrong = judge.look([a_case("scale=60:features.price", told=("rounding",))])
    free = judge.look([a_case("scale=60:features.price")])

    assert [one.told[0].reason for one in (right, wrong, free)] == ["right", "wrong", "no class"]


class WithEps(ToyStack):
    """A toy that shows one setting, and may have noise where that is used."""

    def __init__(self, eps: str, bugs: Mapping[str, Bug] = MappingProxyType({})) -> None:
        super().__init__("challenger", bugs=bugs)
        self.eps = eps

    def weights(self) -> Mapping[str, Array]:
        return {}

    def configuration(self) -> Mapping[str, str]:
        return {"left.eps": self.eps}


def test_what_no_value_explains_is_told_by_the_configuration_of_its_module() -> None:
    noise = {"left": lambda v: v + 0.1 * np.sin(1e4 * v)}
    bench = replace(a_bench(), planter=lambda _: WithEps("0.001", noise))
    judge = replace(a_judge(bench), described=WithEps("1e-05"))
    case = replace(a_case("scale:left", told=("epsilon",)), means="real")

    (told,) = judge.look([case]).told
    (other,) = judge.look([replace(case, told=("activation",))]).told
    (value,) = judge.look([replace(case, means="value")]).told

    assert (told.reason, told.text) == ("right", "left: eps is 0.001 instead of 1e-05")
    assert other.reason == "wrong"
    assert value.reason == "unexplained"


def test_what_differs_already_is_left_out_and_named_of_nothing() -> None:
    bench = a_bench(ToyStack("challenger", bugs=bugs_of("features.price")))
    judge = a_judge(bench)

    outcome = judge.look([a_case("scale:left")])

    assert bench.already == {"features.price"}
    assert outcome.is_right
    assert all(case.expected != "features.price" for case in chosen(bench).cases)


def test_a_change_below_the_floor_is_no_miss() -> None:
    judge = a_judge(a_bench())

    outcome = judge.look([a_case("scale=1.0000001:features.price")])

    assert not outcome.is_above
    assert not outcome.expected


class Refusing(ToyStack):
    def planted(self, fault: object) -> ToyStack:
        del fault
        raise StackError("no such weight.", where="a test", fix="none")


def test_a_challenger_that_fails_on_a_mistake_is_detected_and_not_at_the_right_place() -> None:
    judge = a_judge(a_bench(Refusing("challenger")))

    outcome = judge.look([a_case("weight:left")])

    assert outcome.failed == "no such weight."
    assert outcome.is_detected
    assert not outcome.is_right


def test_every_step_that_reads_a_misread_field_is_at_fault() -> None:
    judge = a_judge(a_bench())

    outcome = judge.look([a_case("row_late:log.candidate.price", expected=None)])

    assert outcome.found == outcome.expected == ("features.price", "features.price_bucket")
    assert outcome.is_right


def test_a_step_that_no_plant_moved_is_not_above_the_floor() -> None:
    bench = a_bench()
    judge = a_judge(bench)
    none = replace(bench.clean, values=MappingProxyType(dict(bench.clean.values)))

    outcome = judge.look([a_case("clipped=1e9:features.price")])

    assert not outcome.is_above
    assert all(np.array_equal(none[n], bench.clean[n], equal_nan=bench.clean[n].dtype.kind == "f") for n in none.values)  # fmt: skip
