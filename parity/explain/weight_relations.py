"""Two arrays of weights that should be one: what was done to the one to make the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.diagnose.rounding import as_bfloat16, as_float16
from parity.explain.diagnose.wording import number
from replay.trace import Array

# Arithmetic on a saved weight rounds once more: four float32 units.
_CLOSE = 4 * 2.0**-23
# Row numbers in a sentence.
_SHOWN = 4


def relation(reference: Array, challenger: Array) -> str | None:
    """In words, how the challenger's weights differ; None where they are the reference's.

    Args:
        reference: Any shape; rows are its first axis.
        challenger: The array that stands for it.
    """
    if reference.shape != challenger.shape:
        return f"has the shape {list(challenger.shape)} instead of {list(reference.shape)}"
    if reference.dtype.kind not in "fiu" or challenger.dtype.kind not in "fiu":
        return None if np.array_equal(reference, challenger) else "holds other values"
    ours, theirs = reference.astype(np.float64), challenger.astype(np.float64)
    if _same(ours, theirs):
        return None
    for says in (*_moved(ours, theirs), *_rounded(ours, theirs), *_scaled(ours, theirs)):
        return says
    apart = np.abs(ours - theirs)
    differing = int(np.count_nonzero(~(apart <= _CLOSE * np.abs(ours))))
    most = number(float(np.nanmax(apart)))
    return f"differs in {differing:,} of {apart.size:,} values, by {most} at most"


def is_same(reference: Array, challenger: Array) -> bool:
    """Whether two arrays hold the same weights, up to a last rounding."""
    return reference.shape == challenger.shape and _same(
        reference.astype(np.float64), challenger.astype(np.float64)
    )


def _same(ours: Array, theirs: Array) -> bool:
    return bool(np.all((ours == theirs) | (np.abs(ours - theirs) <= 2.0**-24 * np.abs(ours))))


def _moved(ours: Array, theirs: Array) -> Iterator[str]:
    """The same values in other places: a square matrix turned, rows or columns in another order."""
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and np.array_equal(ours.T, theirs):
        yield "is transposed"
        return
    for axis, what in ((0, "rows"), (1, "columns")):
        if axis >= ours.ndim:
            continue
        order = _order(np.moveaxis(ours, axis, 0), np.moveaxis(theirs, axis, 0))
        if order is not None:
            yield _order_text(order, what)
            return


def _order(ours: Array, theirs: Array) -> list[int] | None:
    """Which of the reference's rows each of the challenger's is; None where one is none of them."""
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(ours):
        places.setdefault(np.ascontiguousarray(row).tobytes(), []).append(place)
    order = []
    for row in theirs:
        left = places.get(np.ascontiguousarray(row).tobytes())
        if not left:
            return None
        order.append(left.pop(0))
    return order


def _order_text(order: Sequence[int], what: str) -> str:
    size = len(order)
    if list(order) == list(range(size))[::-1]:
        return f"has its {what} in reverse"
    for block in (b for b in range(size // 2, 1, -1) if size % b == 0):
        parts = [order[start : start + block] for start in range(0, size, block)]
        if all(p[0] % block == 0 and list(p) == list(range(p[0], p[0] + block)) for p in parts):
            heads = _listed([part[0] // block for part in parts])
            return f"has blocks of {block} {what} (heads) in the order {heads}"
    moved = [place for place, source in enumerate(order) if place != source]
    return f"has its {what} permuted, {len(moved)} of {size} ({_listed(moved)})"


def _rounded(ours: Array, theirs: Array) -> Iterator[str]:
    for name, cast in (("bfloat16", as_bfloat16), ("float16", as_float16)):
        if np.array_equal(cast(ours), theirs):
            yield f"is rounded to {name}"


def _scaled(ours: Array, theirs: Array) -> Iterator[str]:
    """All values, or single rows or columns, times a factor or more by a constant."""
    for whose, mask in _parts(ours, np.abs(ours - theirs) > 2.0**-24 * np.abs(ours)):
        factor = _factor(ours[mask], theirs[mask])
        if factor == 0.0:
            yield f"has 0 in {whose}"
        elif factor == -1.0:
            yield f"has the other sign in {whose}"
        elif factor is not None:
            yield f"has {number(factor)} x the reference's values in {whose}"
        else:
            by = _offset(ours[mask], theirs[mask])
            if by is not None:
                yield f"has values {number(abs(by))} {'higher' if by > 0 else 'lower'} in {whose}"


def _parts(ours: Array, differing: Array) -> Iterator[tuple[str, Array]]:
    """Where differences may stand: everywhere, in some rows or columns, in some values."""
    yield "every place", np.ones(ours.shape, np.bool_)
    for axis, what in ((0, "row"), (1, "column")):
        if axis >= ours.ndim or ours.ndim == 1:
            continue
        others = tuple(place for place in range(ours.ndim) if place != axis)
        lines = np.flatnonzero(differing.any(axis=others))
        if 0 < len(lines) < ours.shape[axis]:
            mask = np.zeros(ours.shape, np.bool_)
            np.moveaxis(mask, axis, 0)[lines] = True
            yield f"{what}{'s' if len(lines) > 1 else ''} {_listed(lines)}", mask
    if ours.ndim == 1 and not differing.all():
        places = np.flatnonzero(differing)
        yield f"place{'s' if len(places) > 1 else ''} {_listed(places)}", differing


def _factor(ours: Array, theirs: Array) -> float | None:
    if not theirs.any():
        return 0.0
    used = ours != 0.0
    if not used.any() or theirs[~used].any():
        return None
    factor = float(np.median(theirs[used] / ours[used]))
    fits = np.abs(theirs - factor * ours) <= _CLOSE * np.abs(theirs)
    return factor if bool(fits.all()) else None


def _offset(ours: Array, theirs: Array) -> float | None:
    by = float(np.median(theirs - ours))
    room = _CLOSE * (np.abs(ours) + np.abs(theirs))
    return by if by and bool((np.abs(theirs - ours - by) <= room).all()) else None


def _listed(numbers: Sequence[int] | Array) -> str:
    shown = ", ".join(str(int(one)) for one in numbers[:_SHOWN])
    return shown if len(numbers) <= _SHOWN else f"{shown}, ..."
