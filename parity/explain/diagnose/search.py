"""All families on one sample: the explanation that saves most, if it stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from parity.explain.diagnose.bounds import bound_hypotheses
from parity.explain.diagnose.channels import channel_hypotheses
from parity.explain.diagnose.clocks import clock_hypotheses
from parity.explain.diagnose.codes import code_hypotheses
from parity.explain.diagnose.columns import column_hypotheses
from parity.explain.diagnose.curves import curve_hypotheses
from parity.explain.diagnose.fitting import commonest
from parity.explain.diagnose.hypothesis import Hypothesis, Scored
from parity.explain.diagnose.layers import layer_hypotheses
from parity.explain.diagnose.missing import infinite_hypotheses, missing_hypotheses
from parity.explain.diagnose.outputs import output_hypotheses
from parity.explain.diagnose.places import place_hypotheses
from parity.explain.diagnose.rounding import rounding_hypotheses
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.scaling import scaling_hypotheses
from parity.explain.diagnose.score import MIN_BITS, MIN_SUPPORT, best_of, scorer_of
from parity.explain.diagnose.trees import tree_hypotheses
from parity.explain.diagnose.wording import number

Family = Callable[[Sample], Iterator[Hypothesis]]

# What is more usual stands first: of two that save the same, the earlier one is named.
FAMILIES: tuple[Family, ...] = (
    missing_hypotheses,
    infinite_hypotheses,
    scaling_hypotheses,
    clock_hypotheses,
    curve_hypotheses,
    bound_hypotheses,
    rounding_hypotheses,
    column_hypotheses,
    place_hypotheses,
    code_hypotheses,
    output_hypotheses,
    channel_hypotheses,
    layer_hypotheses,
    tree_hypotheses,
)
PLACES: tuple[Family, ...] = (place_hypotheses,)
# An explanation of a part stands only when no other one has a fifth as many of the cells.
_ALONE = 0.9
_RIVAL = 0.2
# A table of codes explains most codes of any column: another table is no rival to it.
_TABLES = {"hash_variant", "relabelled", "codes_merged", "codes_partly_relabelled"}
# To doubt takes less than to name: on so few cells a rival need not pay for itself in full.
_RIVAL_BITS = -10.0
# Of an explanation of less than this any rival makes one of several, whatever it saves.
_HALF = 0.5
_CONSTANT = 0.95
_FEWEST = 5


def explain(sample: Sample, families: Sequence[Family] = FAMILIES) -> Scored | None:
    """The accepted explanation of a sample; None when there is none, or several share the cells."""
    found = _best(sample, families)
    if found is None or found.support >= _ALONE or found.hypothesis.kind in _TABLES:
        return found
    rest = sample.without(found.explained & sample.differs)
    if rest is None:
        return found
    enough = _RIVAL_BITS if found.support >= _HALF else -math.inf
    rival = _best(rest, families, least=_RIVAL / 2.0, enough=enough)
    if rival is None:
        return found
    held = sample.held & found.explained & sample.differs
    others = rest.held & rival.explained & rest.differs
    return None if others.sum() > _RIVAL * held.sum() else found


def constant(sample: Sample) -> Scored | None:
    """The challenger says one thing, whatever the reference says.

    Its own distribution describes such a column for nothing, so it is told by count: nearly all
    cells of both halves, where the reference's differ among themselves.
    """
    found = commonest(sample.challenger[~sample.held])
    if found is None or int((sample.held & sample.differs).sum()) < _FEWEST:
        return None
    value = found.value
    same = (sample.challenger == value) | (np.isnan(sample.c) & np.isnan(value))
    if min(same[sample.held].mean(), same[~sample.held].mean()) < _CONSTANT:
        return None
    ours = sample.reference[same & sample.differs]
    usual = commonest(ours)
    if usual is None:
        return None  # what differs is what the constant does not say
    lost = bool(np.isnan(ours.astype(np.float64)).all())
    is_one = not lost and usual.count >= _CONSTANT * len(ours)
    if is_one and not np.isnan(value):
        return None  # one value for another: too many stories fit
    explained = same & sample.differs
    share = float(explained[sample.held].sum() / (sample.differs & sample.held).sum())
    if lost:
        kind, says = "constant_default", f"a missing value becomes {number(value)}"
        meaning = "a constant default stands for missing"
    elif is_one:
        kind, says = "value_for_missing", f"{number(usual.value)} becomes missing"
        meaning = f"{number(usual.value)} is taken for a missing value"
    else:
        kind, says = "constant", f"challenger is always {number(value)}"
        meaning = "a constant output: a default, or a field that is never filled"
    hypothesis = Hypothesis(kind=kind, says=says, meaning=meaning, parameters={"value": value})
    everything = np.full_like(sample.reference, value)
    return Scored(
        hypothesis=hypothesis,
        bits=float(np.log2(len(sample.r) + 1)),
        support=share,
        rows=float(same[sample.held].mean()),
        everywhere=kind == "constant",
        moves=1.0,
        explained=explained,
        predicted=everything,
    )


def _best(
    sample: Sample,
    families: Sequence[Family],
    *,
    least: float = MIN_SUPPORT,
    enough: float = MIN_BITS,
) -> Scored | None:
    if not len(sample.learning) or not (sample.held & sample.differs).any():
        return None
    with np.errstate(all="ignore"):  # what a wrong hypothesis computes may overflow
        hypotheses = [one for family in families for one in family(sample)]
        return best_of(scorer_of(sample, least=least, enough=enough), hypotheses)
