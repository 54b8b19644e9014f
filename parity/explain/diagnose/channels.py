"""Channels of a layer: permuted, transposed, one of them wrong, each with its own bias or gain."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.explain.diagnose.wording import REAL_BITS, counted
from parity.tolerance import Floats

# Channels are told apart by so many rows.
_ROWS = 4
_DRAWS = 8
_NEAR = 1e-4
# A fault of some channels is looked at there alone.
_FEW = 0.25
# Channels that differ less often than this, against the worst one, differ for another reason.
_WRONG = 0.25
_VARIED = 1e-3
_NEARLY_ALL = 0.9


def channel_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Channels in another order, and constants for each of them."""
    if sample.num_channels < 2:
        return
    yield from _transposed(sample)
    yield from _permuted(sample)
    if sample.is_integer:
        return
    yield from _constants(sample)
    yield from _by_row(sample)


def wrong_channels(sample: Sample) -> Places | None:
    """Places of the channels that differ, when they are few; None when most do, or rows do."""
    if sample.num_channels < 2:
        return None
    shares = sample.grid(sample.differs).mean(axis=0)
    wrong = np.flatnonzero(shares > _WRONG * shares.max())
    few = max(1, math.floor(_FEW * sample.num_channels))
    return wrong if 0 < len(wrong) <= few else None


def channels_text(sample: Sample, channels: Places) -> str:
    """The channels by number: 7, [2, 7] by inner axes, or the last axis' where it is one there."""
    shape = sample.evidence.reference.shape[1:]
    places = np.stack(np.unravel_index(sample.channels[channels], shape), axis=1)
    last = np.unique(places[:, -1])
    what = "tree" if sample.evidence.stage == "tree" else "channel"
    if len(shape) > 1 and len(last) == 1 < len(places):
        return f"{what} {last[0]} of the last axis"
    names = [str(one[0]) if len(one) == 1 else str(one.tolist()) for one in places]
    if len(names) <= 3:
        return f"{what}{'s' if len(names) > 1 else ''} {', '.join(names)}"
    return f"{counted(len(names), what)} of {sample.num_channels} ({', '.join(names[:3])}, ...)"


def _transposed(sample: Sample) -> Iterator[Hypothesis]:
    """The inner axes, or two factors of a flat one, read the other way round."""
    shape = sample.evidence.reference.shape[1:]
    width = sample.num_channels
    if math.prod(shape) != width:
        return
    ours = sample.grid(sample.reference)
    pairs = [shape] if len(shape) == 2 else []
    pairs += [(a, width // a) for a in range(2, width // 2 + 1) if width % a == 0]
    for a, b in dict.fromkeys(pairs):
        values = ours.reshape(-1, a, b).transpose(0, 2, 1).reshape(-1)
        yield Hypothesis(
            kind="transposed",
            says=f"the inner values are those of a {a} x {b} array read as {b} x {a}",
            meaning="transposed: heads and channels, rows and columns, or another layout",
            parameters={"rows": a, "columns": b},
            bits=math.log2(width),
            values=values,
            slack=_room(sample),
        )
    yield Hypothesis(
        kind="channels_reversed",
        says="the channels stand in reverse order",
        meaning="read from the other end",
        bits=1.0,
        values=ours[:, ::-1].reshape(-1),
        slack=_room(sample),
    )


def _permuted(sample: Sample) -> Iterator[Hypothesis]:
    """Each channel holds the values of another one."""
    fitted = np.flatnonzero(~sample.grid(sample.held)[:, 0])
    ours, theirs = sample.grid(sample.r)[fitted], sample.grid(sample.c)[fitted]
    if len(fitted) < _ROWS or not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return
    source = _sources(ours, theirs)
    moved = int(np.count_nonzero(source != np.arange(len(source))))
    if moved < 2:
        return
    is_permutation = len(np.unique(source)) == len(source)
    yield Hypothesis(
        kind="channels_permuted",
        says=f"{counted(moved, 'channel')} of {len(source)} hold the values of other channels",
        meaning="channels or heads are permuted" if is_permutation else "channels are repeated",
        parameters={"moved": moved},
        bits=moved * math.log2(len(source)),
        values=sample.grid(sample.reference)[:, source].reshape(-1),
        slack=_room(sample),
        purity=0.6,
    )


def _sources(ours: Floats, theirs: Floats) -> Places:
    """[channel]: the channel whose values it holds; itself where none is found.

    A few rows at a time tell channels apart; of several draws the best one counts, since some
    rows may be wrong for another reason.
    """
    rng = np.random.default_rng(0)
    own = np.arange(ours.shape[1], dtype=np.int64)
    scale = float(ours.std()) or 1.0
    best, most = own, 0
    for _ in range(_DRAWS):
        rows = rng.choice(len(ours), _ROWS, replace=False)
        a, b = ours[rows], theirs[rows]
        order = np.argsort(a[0], kind="stable")
        at = np.searchsorted(a[0][order], b[0])
        found = own.copy()
        agreed = np.abs(a - b).max(axis=0) <= _NEAR * scale
        for step in (-2, -1, 0, 1):
            near = order[np.clip(at + step, 0, len(own) - 1)]
            same = (np.abs(a[:, near] - b).max(axis=0) <= _NEAR * scale) & ~agreed
            found = np.where(same, near, found)
            agreed |= same
        if int(agreed.sum()) > most:
            best, most = found, int(agreed.sum())
    return best


def _constants(sample: Sample) -> Iterator[Hypothesis]:
    """A bias or a gain of each channel that is left out, or another one."""
    fitted = ~sample.grid(sample.held)[:, 0] & sample.grid(sample.differs).any(axis=1)
    ours, theirs = sample.grid(sample.r), sample.grid(sample.c)
    if fitted.sum() < 4:
        return
    offsets = np.nanmedian(theirs[fitted] - ours[fitted], axis=0)
    with np.errstate(all="ignore"):
        gains = np.nanmedian(theirs[fitted] / ours[fitted], axis=0)
    # Of a channel that has one value throughout any constant can be said.
    varied = np.nanstd(ours[fitted], axis=0) > _VARIED * (float(np.nanstd(ours)) or 1.0)
    offsets = np.where(varied & np.isfinite(offsets), offsets, 0.0)
    gains = np.where(varied & np.isfinite(gains), gains, 1.0)
    moved = int(np.count_nonzero(np.abs(offsets) > 0.0))
    for kind, says, meaning, values in (
        ("channel_offset", "each channel is off by a constant of its own",
         "a bias is left out, or another one is added", ours + offsets),
        ("channel_scale", "each channel is scaled by a constant of its own",
         "a gain is left out, or another one is applied", ours * gains),
    ):  # fmt: skip
        yield Hypothesis(
            kind=kind,
            says=says,
            meaning=meaning,
            bits=REAL_BITS * max(moved, 1),
            values=values.reshape(-1),
            slack=_room(sample),
            purity=_NEARLY_ALL,
        )


def _by_row(sample: Sample) -> Iterator[Hypothesis]:
    """Each row scaled by a factor of its own: the values along the last axis keep proportions.

    Factors fitted on every second channel predict the others, and the other way round.
    """
    width = sample.evidence.reference.shape[-1]
    if sample.num_channels % width or width < 4:
        return
    ours, theirs = sample.r.reshape(-1, width), sample.c.reshape(-1, width)
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return
    even = np.arange(width) % 2 == 0
    values = ours.copy()
    for seen, other in ((even, ~even), (~even, even)):
        x, y = ours[:, seen], theirs[:, seen]
        with np.errstate(all="ignore"):
            factors = np.nan_to_num((x * y).sum(axis=1) / (x * x).sum(axis=1), nan=1.0)
        values[:, other] *= factors[:, np.newaxis]
    yield Hypothesis(
        kind="row_scale",
        says="each row is scaled by a factor of its own",
        meaning="a normalisation differs: left out, over another axis, or with another epsilon",
        values=values.reshape(-1),
        cost=np.full(len(sample.r), REAL_BITS / width),
        slack=_room(sample),
        purity=0.6,
    )


def _room(sample: Sample) -> Floats:
    finite = sample.r[np.isfinite(sample.r)]
    spread = float(finite.std()) if len(finite) else 0.0
    return np.full(len(sample.r), 2e-6 * spread)
