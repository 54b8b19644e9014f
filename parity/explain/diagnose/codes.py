"""Codes, ids and categories: other numbers for the same things."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.explain.diagnose.fitting import commonest
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.explain.diagnose.wording import counted, number, price
from parity.tolerance import Mask
from replay.trace import Array

# A table of codes has to be met several times over to be more than a list of its cells.
_MEETINGS = 3
# Of fewer codes two may fall together by chance.
_FEW_CODES = 8
# Of the codes that the table knows: two mistakes on half of the rows each would fill one too.
_SHARE = 0.6
_WHOLE = 0.3
_ORDER = "another order of the vocabulary"
_HASH = "another hash (seed, encoding or function) or vocabulary order"


def code_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """One value in place of others, codes moved from some place on, codes relabelled."""
    if not len(sample.learning):
        return
    yield from _one_for_many(sample)
    if not sample.is_whole:
        return
    yield from _moved_from_on(sample)
    yield from _negative(sample)
    table = _table(sample, by_channel=False)
    if table is not None:
        yield from _relabelled(sample, table)
    if sample.num_channels > 1:
        table = _table(sample, by_channel=True)
        if table is not None:
            yield from _relabelled(sample, table)


def _one_for_many(sample: Sample) -> Iterator[Hypothesis]:
    """A default in place of some values."""
    cells = sample.finite
    found = commonest(sample.challenger[cells])
    if found is None or found.count < 3:
        return
    value = found.value
    ours = np.unique(sample.reference[cells[sample.challenger[cells] == value]])
    if len(ours) < 2 or not len(cells):
        return
    yield Hypothesis(
        kind="default",
        says=f"the value becomes {number(value)}",
        meaning="a default or an unknown takes its place"
        + (": zeros, as after a dropout or a mask" if value == 0 else ""),
        parameters={"value": value},
        bits=price(value),
        values=np.full_like(sample.reference, value),
        reach="some",
    )


def _moved_from_on(sample: Sample) -> Iterator[Hypothesis]:
    """Codes from some place on are higher or lower: an entry more or less in a vocabulary."""
    cells = sample.finite
    apart = sample.challenger[cells] - sample.reference[cells]
    found = commonest(apart)
    if found is None or not found.value:
        return
    shift = int(found.value)
    moved = sample.reference[cells[apart == found.value]]
    lowest = float(moved.min())
    known = np.unique(sample.reference[np.isfinite(sample.r)])
    if lowest <= known.min():
        return
    yield Hypothesis(
        kind="id_offset",
        says=f"codes from {number(lowest)} on are {abs(shift)} {'higher' if shift > 0 else 'lower'}",
        meaning="an entry more or less before them: a reserved id, or another vocabulary",
        parameters={"from": lowest, "offset": shift},
        bits=math.log2(len(known)) + 2.0 * math.log2(abs(shift) + 1) + 1.0,
        needs=3,
        values=np.where(sample.reference >= lowest, sample.reference + shift, sample.reference),
        reach="all",
    )


def _negative(sample: Sample) -> Iterator[Hypothesis]:
    """Codes below zero, a whole turn or two lower: a hash taken for a signed integer."""
    cells = sample.finite
    below = cells[sample.challenger[cells] < 0]
    if not len(below) or (sample.r[np.isfinite(sample.r)] < 0).any():
        return
    turns, counts = np.unique(
        sample.challenger[below] - sample.reference[below], return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:2]
    turns, shares = turns[order], counts[order] / counts[order].sum()
    if float(-turns.min()) < 0.9 * float(sample.r[np.isfinite(sample.r)].max(initial=0.0)):
        return  # less than a whole turn of the codes
    # Truncation towards zero leaves two turns: the cost of a cell is which of them it took.
    for count in (1, 2):
        taken = turns[:count]
        hit = sample.reference + taken[:, np.newaxis] == sample.challenger
        cost = -np.log2(shares[np.argmax(hit, axis=0)]) if count > 1 else np.zeros(len(sample.r))
        yield Hypothesis(
            kind="hash_sign",
            says="codes are negative, lower by "
            + " or ".join(number(-float(turn)) for turn in taken),
            meaning="the hash is taken for a signed integer before the modulus",
            parameters={"turn": float(turns[0])},
            bits=count * 2.0 * math.log2(abs(float(turns[0])) + 1.0),
            needs=3,
            values=np.where(hit.any(axis=0), sample.challenger, sample.reference),
            cost=cost,
            reach="some",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """A code of the reference to the challenger's, as the fitting half has them.

    Attributes:
        keys: [cell], the code's place among the known ones.
        predicted: [cell].
        seen: [cell], whether the fitting half has its code.
        known: Codes of the reference in the fitting half.
        ours, theirs: [code], a changed code and what it becomes, most of the time.
        one_to_one: Share of the known codes that share their new code with no other.
        merged: Different codes of the challenger over those of the reference.
    """

    keys: Places
    predicted: Array
    seen: Mask
    known: int
    ours: Array
    theirs: Array
    one_to_one: float
    merged: float


def _table(sample: Sample, *, by_channel: bool) -> _Table | None:
    usable: Mask = np.isfinite(sample.r) & np.isfinite(sample.c)
    codes, place = np.unique(sample.reference, return_inverse=True)
    keys = place.astype(np.int64)
    if by_channel:
        channel = np.tile(np.arange(sample.num_channels), len(sample.rows))
        _, keys = np.unique(channel * len(codes) + place, return_inverse=True)
    fitted = usable & ~sample.held
    if not fitted.any() or keys[fitted].max(initial=0) == 0:
        return None
    _, theirs = np.unique(sample.challenger, return_inverse=True)
    width = int(theirs.max()) + 1
    pairs, counts = np.unique(keys[fitted] * width + theirs[fitted], return_counts=True)
    owner = pairs // width
    if len(np.unique(owner)) * _MEETINGS > int(fitted.sum()):
        return None
    # The last of each owner's pairs, sorted by count, is the most frequent one.
    order = np.lexsort((pairs, counts, owner))
    last = np.flatnonzero(np.diff(np.append(owner[order], -1)) != 0)
    chosen = pairs[order][last]
    own = np.unique(sample.challenger)
    new = np.full(int(keys.max()) + 1, -1, dtype=np.int64)
    new[chosen // width] = chosen % width
    found = new[keys]
    predicted = np.where(found >= 0, own[np.maximum(found, 0)], sample.reference)
    first = np.unique(keys, return_index=True)[1]
    is_known = new[keys[first]] >= 0
    ours, becomes = sample.reference[first][is_known], predicted[first][is_known]
    changed = ours != becomes
    if by_channel:
        group = np.tile(np.arange(sample.num_channels), len(sample.rows))[first][is_known]
        targets = np.stack([group, becomes], axis=1)
        _, back, times = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
        back = back.reshape(-1)
    else:
        _, back, times = np.unique(becomes, return_inverse=True, return_counts=True)
    return _Table(
        keys=keys,
        predicted=predicted,
        seen=found >= 0,
        known=len(ours),
        ours=ours[changed],
        theirs=becomes[changed],
        one_to_one=float(np.mean(times[back] == 1)),
        merged=len(own) / len(codes),
    )


def _relabelled(sample: Sample, table: _Table) -> Iterator[Hypothesis]:
    changed = len(table.ours)
    if not changed or (sample.evidence.stage == "tree" and changed < 0.7 * table.known):
        return  # rows that change their leaf are no other numbering
    if not _holds(sample, table):
        return
    kind, says, meaning = _named(sample, table, changed)
    own = len(np.unique(sample.challenger))
    yield Hypothesis(
        kind=kind,
        says=says,
        meaning=meaning,
        parameters={"changed": changed, "known": table.known},
        bits=changed * min(math.log2(max(own, 2)), 4.0) + 4.0,
        values=table.predicted,
        reach="all",
        certain=table.one_to_one == 1.0
        and changed == table.known
        and len(np.unique(table.theirs - table.ours)) > 1
        and sample.meets_each_value(table.predicted),
    )


def _holds(sample: Sample, table: _Table) -> bool:
    """Whether the table is met by most cells, or wholly by many of its codes.

    Two texts that share a code part under another seed, and their code is met half of the time;
    the codes of single texts are met always. Of two mistakes on half of the rows each, no code is.
    """
    looked_up = sample.held & sample.differs & table.seen
    if not looked_up.any():
        return False
    right = table.predicted[looked_up] == sample.challenger[looked_up]
    if right.mean() >= _SHARE:
        return True
    keys = table.keys[looked_up]
    counts = np.bincount(keys)
    met = np.bincount(keys, weights=right.astype(np.float64))
    often = counts >= _MEETINGS
    return bool(often.sum() >= _FEW_CODES and np.mean(met[often] >= 0.8 * counts[often]) >= _WHOLE)


def _named(sample: Sample, table: _Table, changed: int) -> tuple[str, str, str]:
    if changed == 1:
        ours, theirs = table.ours[0].item(), table.theirs[0].item()
        return (
            "reserved_id",
            f"{number(ours)} becomes {number(theirs)}, and nothing else changes",
            "a reserved id, a padding id, or one entry of a table",
        )
    codes = f"{counted(changed, 'code')} of {table.known}"
    is_code = sample.evidence.stage == "encoding"
    if table.known < _FEW_CODES and sample.evidence.stage != "tree":
        return (
            "relabelled" if is_code else "hash_variant",
            f"{codes} become others",
            _ORDER if is_code else _HASH,
        )
    if table.merged < 0.75:
        return (
            "codes_merged",
            f"{codes} change and several fall together",
            "fewer buckets, a shorter vocabulary, or a coarser table",
        )
    if changed < 0.7 * table.known:
        return (
            "codes_partly_relabelled",
            f"{codes} become others, the rest agree",
            "text normalised or encoded otherwise (case, spaces, accents), or a part of a vocabulary",
        )
    if sample.evidence.stage == "tree":
        return (
            "relabelled",
            f"{codes} become others, one to one",
            "leaves are numbered otherwise (node ids, another order)",
        )
    return (
        "relabelled" if is_code else "hash_variant",
        f"{codes} become others, {'one to one' if table.one_to_one > 0.95 else 'nearly one to one'}",
        _ORDER if is_code else _HASH,
    )
