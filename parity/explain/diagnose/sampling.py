"""Evidence cut to a bounded sample, and the half of its requests that is held back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.explain.diagnose.evidence import Evidence
from parity.explain.diagnose.sample import Places, Sample
from parity.noise import ChannelNoise
from parity.tolerance import Mask
from replay.trace import Array

# A sample of 128 requests x 50 candidates fits whole; of a wide layer, fewer requests are looked at.
MAX_CELLS = 24_576
FEW_CHANNELS = 8
# Below so many differing requests rows are held back instead.
MIN_REQUESTS = 4


def sample_of(evidence: Evidence) -> Sample | None:
    """The sample of some evidence; None when a diagnosis could not be held to anything.

    A column that has one value for each request is looked at by request: fifty candidates that
    repeat one value are one observation.
    """
    rows = len(evidence.requests)
    if rows == 0 or evidence.reference.size == 0:
        return None
    ours, theirs = evidence.reference.reshape(rows, -1), evidence.challenger.reshape(rows, -1)
    if ours.dtype.kind not in "fiub" or theirs.dtype.kind not in "fiub":
        return None
    differs = _differs(evidence, ours, theirs)
    kept = _bounded(evidence.requests, _any(differs), ours.shape[1])
    kept = _collapsed(kept, evidence.requests, ours, theirs)
    a, b = ours[kept], theirs[kept]
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = np.nan_to_num(evidence.tolerance.allowed(a, b), nan=0.0)
    marked = differs[kept]
    held = held_back(evidence.requests[kept], _any(marked))
    sample = Sample(
        evidence=evidence,
        rows=kept,
        channels=np.arange(ours.shape[1], dtype=np.int64),
        reference=_wide(a),
        challenger=_wide(b),
        allowed=np.ascontiguousarray(allowed, dtype=np.float64).reshape(-1),
        differs=marked.reshape(-1),
        held=np.repeat(held, ours.shape[1]),
    )
    if not len(sample.learning) or not (sample.differs & sample.held).any():
        return None
    return sample


def few_channels(evidence: Evidence) -> Evidence | None:
    """Of a checkpoint too wide to be sampled by whole requests: some channels of every row.

    What moves rows within their requests is looked for there.
    """
    rows = len(evidence.requests)
    width = evidence.reference.size // max(rows, 1)
    if evidence.reference.size <= MAX_CELLS or width <= FEW_CHANNELS:
        return None
    if evidence.differs is not None and not evidence.differs.any():
        return None
    ours, theirs = evidence.reference.reshape(rows, -1), evidence.challenger.reshape(rows, -1)
    chosen = np.linspace(0, width - 1, max(min(FEW_CHANNELS, MAX_CELLS // rows), 1))
    at = np.unique(chosen.astype(np.int64))
    tolerance = evidence.tolerance
    if isinstance(tolerance, ChannelNoise):
        tolerance = tolerance.of_columns(at)
    return replace(evidence, reference=ours[:, at], challenger=theirs[:, at], tolerance=tolerance)


def _wide(values: Array) -> Array:
    return values.reshape(-1).astype(np.float64 if values.dtype.kind == "f" else np.int64)


def _differs(evidence: Evidence, ours: Array, theirs: Array) -> Mask:
    with np.errstate(invalid="ignore", over="ignore"):
        found: Mask = evidence.tolerance.exceeded(ours, theirs)
    same = ours == theirs
    if ours.dtype.kind == "f":
        same |= np.isnan(ours) & np.isnan(theirs)
    found = found & ~same
    return found if evidence.differs is None else found & evidence.differs[:, np.newaxis]


def differing_rows(evidence: Evidence) -> Mask:
    """[row]: whether any of its cells differs."""
    rows = len(evidence.requests)
    ours, theirs = evidence.reference.reshape(rows, -1), evidence.challenger.reshape(rows, -1)
    return _any(_differs(evidence, ours, theirs))


def _any(cells: Mask) -> Mask:
    """[row]: whether any of its cells is marked."""
    return np.asarray(cells.any(axis=1), dtype=np.bool_)


def _bounded(requests: Places, differing: Mask, width: int) -> Places:
    """Rows up to the bound, diverging and agreeing ones in turn, spread over the requests."""
    room = max(MAX_CELLS // width, 2)
    if len(requests) <= room:
        return np.arange(len(requests), dtype=np.int64)
    # The place of a row within its request and kind: the first rows of all requests, then the
    # second ones. Rows of one request are alike, so many requests say more than many rows.
    place = np.zeros(len(requests), dtype=np.int64)
    for kind in (differing, ~differing):
        rows = np.flatnonzero(kind)
        owner = requests[rows]
        new = np.concatenate([[True], np.diff(owner) != 0]) if len(rows) else rows.astype(bool)
        first = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))
        place[rows] = np.arange(len(rows)) - first
    shuffled = np.random.default_rng(0).permutation(len(requests))
    order = shuffled[np.argsort(place[shuffled], kind="stable")]
    at_fault = differing[order]
    turn = np.where(at_fault, np.cumsum(at_fault), np.cumsum(~at_fault))
    return np.sort(order[np.argsort(turn, kind="stable")[:room]])


def _collapsed(kept: Places, requests: Places, ours: Array, theirs: Array) -> Places:
    """The first row of each request, when its other rows repeat it."""
    owner = requests[kept]
    first = np.concatenate([[True], np.diff(owner) != 0])
    source = kept[np.maximum.accumulate(np.where(first, np.arange(len(kept)), 0))]
    repeats = all(
        np.array_equal(side[kept], side[source], equal_nan=side.dtype.kind == "f")
        for side in (ours, theirs)
    )
    return kept[first] if repeats and len(np.unique(owner)) > 1 else kept


def held_back(requests: Places, differing: Mask) -> Mask:
    """[row]: every second diverging and every second agreeing request; else every second row."""
    names, place = np.unique(requests, return_inverse=True)
    at_fault = np.bincount(place[differing], minlength=len(names)) > 0
    if np.count_nonzero(at_fault) < MIN_REQUESTS:
        turn = np.where(differing, np.cumsum(differing), np.cumsum(~differing))
        return np.asarray(turn % 2 == 0, dtype=np.bool_)
    # Shuffled, so that a log in which two kinds of requests take turns is not split by kind.
    order = np.random.default_rng(0).permutation(len(names))
    turn = np.empty(len(names), dtype=np.int64)
    turn[order] = np.where(at_fault[order], np.cumsum(at_fault[order]), np.cumsum(~at_fault[order]))
    return np.asarray((turn % 2 == 0)[place], dtype=np.bool_)
