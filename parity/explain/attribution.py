"""Shares by one backward pass: what each cause's own error does to the logit, to first order.

Repairing causes one after another is exact and costs a pass each. Where a stack gives gradients,
the error that a step makes on given inputs, times the logit's slope there, is its share too. Both
are printed: where they part, causes act on each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.compare.alignment import Pair
from parity.explain.causes import Fault, find_faults
from parity.explain.probe import Probe, given_from_reference
from parity.explain.repair import signed_difference
from replay.capabilities import Differentiates
from replay.engine.capability_calls import differentiating
from replay.errors import StackError
from replay.stack import Stack
from replay.trace import EMPTY, Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Shares of the logit's gap to first order.

    Attributes:
        shares: Of each fault; None where no gradient reaches it: a code, a leaf, or after the logit.
        remainder: What they leave of the gap; None where a fault has no share.
    """

    shares: tuple[float | None, ...]
    remainder: float | None


def attribute(reference: Stack, challenger: Stack, probe: Probe) -> Attribution | None:
    """Shares by gradients of the challenger, of the reference, or the mean of both.

    The mean of the slopes at both ends is right to second order, either alone to first.

    Returns:
        None where neither side differentiates, or the logit has no gap.
    """
    pair = probe.alignment.by_name.get("logit")
    faults = find_faults(probe)
    if pair is None or pair.rows != "candidate" or not faults:
        return None
    apart = signed_difference(pair, probe, probe.free_run, EMPTY)
    signs = np.where(np.isfinite(apart), np.sign(apart), 0.0)
    if not signs.any():
        return None
    weights = signs / np.count_nonzero(np.isfinite(apart))
    whole = float(np.sum(weights * np.where(signs, apart, 0.0)))
    pairs = [one for fault in faults for one in fault.pairs]
    slopes = _slopes(differentiating(challenger), pairs, probe, weights, of="challenger")
    others = _slopes(differentiating(reference), pairs, probe, weights, of="reference")
    if not slopes and not others:
        return None
    costs = [_cost(fault, probe, slopes, others) for fault in faults]
    shares = tuple(None if cost is None else cost / whole for cost in costs)
    known = [share for share in shares if share is not None]
    return Attribution(
        shares=shares, remainder=1.0 - sum(known) if len(known) == len(shares) else None
    )


def _slopes(
    stack: Differentiates | None, pairs: list[Pair], probe: Probe, weights: Array, *, of: str
) -> dict[str, Array]:
    """Reference name to the logit's slope there, along the challenger's rows."""
    if stack is None:
        return {}
    names = {getattr(pair, of).name: pair for pair in pairs}
    try:
        found = stack.gradients(probe.batch, list(names), weights)
    except StackError:  # no logit of its own, or an operation without a derivative
        return {}
    return {
        names[name].name: array
        for name, array in found.items()
        if getattr(names[name], of).rows == names[name].challenger.rows
    }


def _cost(
    fault: Fault, probe: Probe, slopes: dict[str, Array], others: dict[str, Array]
) -> float | None:
    """What a fault adds to the gap: its pairs' own errors along the slopes."""
    total = 0.0
    for pair in fault.pairs:
        if pair.name != "logit" and pair.name not in probe.alignment.ancestors["logit"]:
            continue  # what follows the logit costs it nothing
        given, able = given_from_reference([pair.name], probe.alignment, probe.reference)
        ends = [found[pair.name] for found in (slopes, others) if pair.name in found]
        if not ends or pair.name not in able:
            return None
        name = pair.challenger.name
        ours, theirs = (a.astype(np.float64) for a in (given[name], probe.given_run[name]))
        if np.isinf(ours - theirs).any() or (np.isnan(ours) != np.isnan(theirs)).any():
            return None  # what is missing on one side has no error to follow
        error = np.nan_to_num(theirs - ours)
        slope = sum(end.astype(np.float64) for end in ends) / len(ends)
        total += float(np.sum(error * slope))
    return total
