"""What a cause costs in every unit, and when it is only different."""

from __future__ import annotations

import pytest

from parity.compare.alignment import align
from parity.explain.causes import find_causes
from parity.explain.costs import with_costs
from parity.explain.probe import probe
from parity.explain.repair import repair
from parity.plan import Material, Plan
from tests.toys import ToyStack, bugs_of, toy_batch, toys

BATCH = toy_batch(16)
ANY = Material()


def causes(reference, challenger, allowed=ANY):
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    found = probe(reference, challenger, BATCH, alignment)
    repaired = repair(challenger, found)
    return with_costs(find_causes(found), repaired, None, allowed), repaired


def test_each_unit_adds_up_to_its_gap() -> None:
    found, repaired = causes(*toys(bugs_of("features.price", "left", "pctr", factor=1.5)))

    for unit in ("logit", "pctr", "ecpm_micros", "rank_flips"):
        parts = [one for cause in found for one in cause.costs if one.unit == unit]
        before = repaired.rank_flips[0] if unit == "rank_flips" else repaired.gaps[unit][0]
        assert len(parts) == 3
        assert all(one.before == before for one in parts)
        assert sum(one.closed for one in parts) == pytest.approx(before, rel=1e-6)
    assert found[2].costs[0].closed == pytest.approx(0.0, abs=1e-12)  # pctr costs the logit nothing


def test_a_cause_that_moves_an_output_is_material_by_default() -> None:
    found, _ = causes(*toys(bugs_of("left", factor=2.0)))

    assert [cause.material for cause in found] == [True]


def test_a_cause_that_no_output_shows_is_only_different() -> None:
    """The bucket is another one, and given its code nothing is."""
    reference, challenger = toys(bugs_of("features.hour", factor=1.01))
    alone, _ = causes(reference, challenger)
    wide = Material(rank_flips=1.0, pctr=1.0, money=10.0)

    found, _ = causes(*toys(bugs_of("features.hour", factor=1.01)), allowed=wide)

    assert alone[0].checkpoint == found[0].checkpoint == "features.hour"
    assert found[0].material is False


@pytest.mark.parametrize(
    "allowed",
    [
        Material(rank_flips=0.0, pctr=1.0, money=10.0),
        Material(rank_flips=1.0, pctr=1e-6, money=10.0),
        Material(rank_flips=1.0, pctr=1.0, money=1e-6),
    ],
)
def test_each_limit_counts_alone(allowed: Material) -> None:
    found, _ = causes(*toys(bugs_of("left", factor=5.0)), allowed=allowed)

    assert found[0].material is True


def test_what_can_not_be_repaired_is_neither() -> None:
    challenger = ToyStack("challenger", bugs=bugs_of("left", factor=2.0), unsettable=["left"])

    found, _ = causes(ToyStack("reference"), challenger)

    assert [(cause.material, cause.costs) for cause in found] == [(None, ())]
