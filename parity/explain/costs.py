"""Costs put beside their causes, and whether one is material: it moves rank, probability or money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.explain.attribution import Attribution
from parity.explain.repair import UNITS, Repair
from parity.judge.report import Cause, Closed
from parity.plan import Material


def with_costs(
    causes: Sequence[Cause], found: Repair, attributed: Attribution | None, allowed: Material
) -> tuple[Cause, ...]:
    """The causes with what repairing each takes off every gap, in causal order."""
    return tuple(
        replace(
            cause,
            share_of_gap=found.shares[number],
            linear_share=None if attributed is None else attributed.shares[number],
            costs=_costs(found, number),
            material=is_material(found, number, allowed),
        )
        for number, cause in enumerate(causes)
    )


def is_material(found: Repair, fault: int, allowed: Material) -> bool | None:
    """Whether a cause moves more than the plan allows; None where it could not be repaired."""
    if found.places[fault] is None:
        return None
    flips = found.closed("rank_flips", fault) or 0.0
    pctr = found.closed("pctr", fault) or 0.0
    money = found.closed("ecpm_micros", fault) or 0.0
    return (
        abs(flips) > allowed.rank_flips * found.candidates
        or abs(pctr) > allowed.pctr
        or abs(money) > allowed.money * (found.money or 0.0)
    )


def _costs(found: Repair, fault: int) -> tuple[Closed, ...]:
    costs = []
    for unit in (*UNITS, "rank_flips"):
        closed = found.closed(unit, fault)
        before = found.rank_flips[0] if unit == "rank_flips" else found.gaps.get(unit, (0.0,))[0]
        if closed is not None and (before or closed):
            costs.append(Closed(unit=unit, before=float(before), closed=float(closed)))
    return tuple(costs)
