"""Description length: what a hypothesis saves on cells that it was not fitted on.

The challenger's column is written down three ways: as the reference with exceptions, as draws
from its own distribution, and by the hypothesis with exceptions. An exception costs what its value
has in the challenger's own column; with a fixed price of 32 bits a column of few values would pay
for any story.

Source: Grünwald 2007, "The Minimum Description Length Principle", chapters 3 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis, Scored
from parity.explain.diagnose.sample import Places, Sample
from parity.tolerance import Floats, Mask
from replay.trace import Array

# Saved at least, after paying for the choice among all hypotheses (docs/diagnosis.md).
MIN_BITS = 20.0
# Of the differing cells, at least explained.
MIN_SUPPORT = 0.3
# An explanation removes all but this share of a cell's difference, however wide the tolerance.
LEFT = 1.0 / 16.0
# Differing cells of the fitting half that a hypothesis meets before it is scored in full.
SCREENED = 192
_SCREENED_SHARE = 0.6
# What is backed by other values has to hold nearly everywhere.
_CERTAIN = 0.8
# What a differing value then costs at least: such a column's own distribution is no explanation.
_CERTAIN_BITS = 2.0
# Units in the last place: both sides round, and a curve in float64 is not rounded as they are.
_ULPS = 2.0
_INPUT_ULPS = 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """Scores hypotheses on one sample."""

    sample: Sample
    unexplained: float
    screen: Places
    held: Places
    marginal: Floats
    surprise: Floats
    least: float = MIN_SUPPORT
    enough: float = MIN_BITS

    def score(self, hypothesis: Hypothesis, choice: float) -> Scored | None:
        """What it saves on the held-back half; None when it is not accepted.

        Args:
            hypothesis: Fitted on the other half.
            choice: Bits that choosing it among all hypotheses costs.
        """
        if not self._worth_a_look(hypothesis):
            return None
        sample, held = self.sample, self.held
        everything = np.arange(len(sample.reference))
        predicted = predict(hypothesis, sample, everything)
        agrees = meets(hypothesis, sample, everything, predicted)
        explained = sample.differs & agrees
        broken = ~sample.differs & ~agrees & _moves(sample, predicted)
        if hypothesis.certain and agrees[held].mean() < _CERTAIN:
            return None
        differs, met, lost = sample.differs[held], explained[held], broken[held]
        k, e = int(differs.sum()), int(met.sum())
        if e < max(self.least, hypothesis.purity) * k or not _is_general(
            hypothesis, sample, explained
        ):
            return None
        left = (differs & ~met) | lost
        missed = self.surprise[differs & ~met].sum()
        all_cells = flags(len(held), int(left.sum())) + missed + self.marginal[lost].sum()
        some_cells = flags(len(held), k) + flags(k, k - e) + missed
        if hypothesis.cost is not None:
            all_cells += hypothesis.cost[held][~left].sum()
            some_cells += hypothesis.cost[held][met].sum()
        if hypothesis.reach == "all":
            some_cells = math.inf
        # Where it stands for every cell, changed cells that agree must not outweigh the others.
        if hypothesis.reach == "some" or int(lost.sum()) > e:
            all_cells = math.inf
        unexplained = self.unexplained
        if hypothesis.certain:
            unexplained = max(unexplained, flags(len(held), k) + _CERTAIN_BITS * k)
        saved = unexplained - min(all_cells, some_cells) - hypothesis.bits - choice
        if saved < self.enough:
            return None
        everywhere = bool(all_cells <= some_cells)
        if not everywhere and not _is_varied(sample, explained):
            return None
        return Scored(
            hypothesis=hypothesis,
            bits=float(saved),
            support=e / k,
            rows=float(np.mean(agrees[held] if everywhere else met)),
            everywhere=everywhere,
            moves=float(np.mean(differs | lost)),
            explained=explained | (agrees & ~sample.differs if everywhere else False),
            predicted=predicted,
        )

    def _worth_a_look(self, hypothesis: Hypothesis) -> bool:
        agrees = meets(
            hypothesis, self.sample, self.screen, predict(hypothesis, self.sample, self.screen)
        )
        return bool(agrees.mean() >= _SCREENED_SHARE * self.least)


def scorer_of(sample: Sample, *, least: float = MIN_SUPPORT, enough: float = MIN_BITS) -> Scorer:
    """A scorer that asks for at least so much support and so many bits, with the price of the challenger's column when nothing explains it."""
    held = np.flatnonzero(sample.held)
    differs = sample.differs[held]
    marginal, surprise = sample.marginal[held], sample.surprise[held]
    as_reference = flags(len(held), int(differs.sum())) + float(surprise[differs].sum())
    learning = sample.learning
    step = max(len(learning) // SCREENED, 1)
    return Scorer(
        sample=sample,
        unexplained=min(as_reference, float(marginal.sum())),
        screen=learning[::step],
        held=held,
        marginal=marginal,
        surprise=surprise,
        least=least,
        enough=enough,
    )


def best_of(scorer: Scorer, hypotheses: Sequence[Hypothesis]) -> Scored | None:
    """The accepted hypothesis that saves most; the earlier one of two that save the same."""
    choice = math.log2(max(len(hypotheses), 1))
    best: Scored | None = None
    for hypothesis in hypotheses:
        found = scorer.score(hypothesis, choice)
        if found is not None and (best is None or found.bits > best.bits + 1e-6):
            best = found
    return best


def flags(cells: int, marked: int) -> float:
    """Bits to say which of the cells are marked: their count, then their places."""
    ways = math.lgamma(cells + 1) - math.lgamma(marked + 1) - math.lgamma(cells - marked + 1)
    return ways / math.log(2.0) + math.log2(cells + 1)


def predict(hypothesis: Hypothesis, sample: Sample, cells: Places) -> Array:
    """[len(cells)]: what the hypothesis expects of the challenger."""
    if hypothesis.values is not None:
        return hypothesis.values[cells]
    assert hypothesis.curve is not None, f"{hypothesis.kind} predicts nothing"
    with np.errstate(all="ignore"):  # a curve may have no value there: that is its prediction
        return hypothesis.curve(sample.reference[cells])


def meets(hypothesis: Hypothesis, sample: Sample, cells: Places, predicted: Array) -> Mask:
    """[len(cells)]: where the challenger is as predicted, up to rounding."""
    actual = sample.challenger[cells]
    if predicted.dtype.kind == "i" and sample.is_integer:
        same: Mask = predicted == actual
        return same
    p, c, r = predicted.astype(np.float64), sample.c[cells], sample.r[cells]
    with np.errstate(all="ignore"):
        exact: Mask = (p == c) | (np.isnan(p) & np.isnan(c))
        if sample.is_integer:
            return exact
        near = _ULPS * _spacing(np.maximum(np.abs(p), np.abs(c)), sample.evidence.challenger)
        low = high = p
        if hypothesis.curve is not None:
            off = _INPUT_ULPS * _spacing(np.abs(r), sample.evidence.reference)
            ends = (hypothesis.curve(r - off), hypothesis.curve(r + off))
            low, high = np.fmin(p, np.fmin(*ends)), np.fmax(p, np.fmax(*ends))
        slack = hypothesis.slack[cells] if isinstance(hypothesis.slack, np.ndarray) else 0.0
        slack = np.minimum(sample.allowed[cells] + slack, LEFT * np.abs(c - r))
        room = near + np.nan_to_num(slack, nan=0.0, posinf=0.0)
        if hypothesis.steps:
            ends_met = (np.abs(c - end) <= room for end in (p, low, high))
            return np.asarray(exact | np.logical_or.reduce(list(ends_met)))
        met: Mask = exact | ((c >= low - room) & (c <= high + room))
    return met


def _moves(sample: Sample, predicted: Array) -> Mask:
    """[cell]: whether the prediction leaves an agreeing cell further off than it was."""
    if predicted.dtype.kind == "i" and sample.is_integer:
        other: Mask = predicted != sample.challenger
        return other
    with np.errstate(all="ignore"):
        left = np.abs(predicted.astype(np.float64) - sample.c)
        had = np.abs(sample.c - sample.r)
        floor = _ULPS * _spacing(np.abs(sample.c), sample.evidence.challenger)
        further = left > np.maximum(had, floor) / LEFT
        one_missing = np.isnan(predicted.astype(np.float64)) != np.isnan(sample.c)
        moved: Mask = one_missing | further | (left > np.maximum(sample.allowed, floor))
    return moved


def _spacing(magnitude: Floats, like: Array) -> Floats:
    """One unit in the last place of an array's dtype; float64's where it holds integers."""
    kind = like.dtype if like.dtype.kind == "f" else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        return np.asarray(np.abs(np.spacing(magnitude.astype(kind))), dtype=np.float64)


def _is_varied(sample: Sample, explained: Mask) -> bool:
    """Whether more than one value of the reference is concerned: of one, anything can be said."""
    ours = sample.reference[explained]
    return len(np.unique(ours)) > 1 or bool(np.isnan(ours.astype(np.float64)).all())


def _is_general(hypothesis: Hypothesis, sample: Sample, explained: Mask) -> bool:
    """Whether it meets more different values than it has free parameters to bend."""
    if not hypothesis.needs:
        return True
    return len(np.unique(sample.reference[explained])) >= hypothesis.needs
