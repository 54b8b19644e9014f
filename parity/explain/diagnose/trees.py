"""Sums over leaves and categories: a tree or a feature whose weights are wrong or left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.explain.diagnose.wording import REAL_BITS
from parity.tolerance import Floats, Mask
from replay.trace import Array

# Trees left out at the end of a sum, tried in this order.
_LAST = (1, 2, 3, 5, 10, 20)
_MOST_CODES = 512
_ROUNDS = 4


def tree_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """What is added to a sum depends on one discrete parent, or on its last trees."""
    if sample.is_integer or sample.num_channels != 1 or not len(sample.finite):
        return
    apart = sample.c - sample.r
    fitted = np.isfinite(apart) & ~sample.held
    slack = np.full(len(apart), 4.0 * float(np.spacing(np.float32(np.nanmax(np.abs(sample.r))))))
    for name, column, tree in _discrete_parents(sample):
        is_last = tree is not None and tree == sample.evidence.others[name].shape[1] - 1
        found = _by_code(apart, column, fitted)
        if found is None:
            continue
        added, codes = found
        if tree is None:
            says = f"what is added depends on {name} alone"
            meaning = "its weights are others, or left out"
        else:
            says = f"what is added depends on the leaf of tree {tree} of {name} alone"
            meaning = (
                "the last tree is left out (an iteration range or tree limit), or has other weights"
                if is_last
                else "this tree has other weights, or is left out"
            )
        yield Hypothesis(
            kind="tree_limit" if tree is not None and is_last else "weights_of_one_input",
            says=says,
            meaning=meaning,
            parameters={"column": name} if tree is None else {"column": name, "tree": tree},
            bits=codes * REAL_BITS,
            needs=codes + 2,
            values=sample.r + added,
            slack=slack,
        )
    yield from _last_trees(sample, apart, fitted, slack)


def _discrete_parents(sample: Sample) -> Iterator[tuple[str, Array, int | None]]:
    for name in sample.evidence.parents:
        values = sample.beside(sample.evidence.others[name])
        if values.dtype.kind not in "iu":
            continue
        if values.ndim == 1:
            yield name, values, None
        elif values.ndim == 2:
            for tree in range(values.shape[1]):
                yield name, values[:, tree], tree


def _by_code(apart: Floats, column: Array, fitted: Mask) -> tuple[Floats, int] | None:
    """[row]: the difference that a row's code has; None when codes do not settle it."""
    low = int(column.min())
    place: Places = (column - low).astype(np.int64)
    width = int(place.max()) + 1
    if width > _MOST_CODES or width < 2:
        return None
    of_code, counts = _medians(place[fitted], apart[fitted], width)
    off = np.abs(apart[fitted] - of_code[place[fitted]])
    if float(np.median(off)) > 0.05 * float(np.median(np.abs(apart[fitted]))) + 1e-30:
        return None
    return of_code[place], int(np.count_nonzero(counts))


def _medians(place: Places, values: Floats, width: int) -> tuple[Floats, Places]:
    """[width]: the median of each place's values, 0 where it has none; and their counts."""
    order = np.lexsort((values, place))
    counts = np.bincount(place, minlength=width)
    starts = np.cumsum(counts) - counts
    middle = np.minimum(starts + counts // 2, len(values) - 1)
    return np.where(counts > 0, values[order][middle], 0.0), counts


def _last_trees(sample: Sample, apart: Floats, fitted: Mask, slack: Floats) -> Iterator[Hypothesis]:
    """The difference is a sum over the leaves of the last trees."""
    for name in sample.evidence.parents:
        if sample.evidence.stages.get(name) != "tree":
            continue
        leaves = sample.beside(sample.evidence.others[name])
        for count in _LAST:
            if count == 1 or count * 2 > leaves.shape[1]:
                continue
            design = _one_hot(leaves[:, -count:])
            if design.shape[1] * 3 > int(fitted.sum()) or design.shape[1] > 160:
                break
            added = _added_up(design, apart, fitted)
            left = float(np.median(np.abs(apart[fitted] - added[fitted])))
            if left > 0.02 * float(np.median(np.abs(apart[fitted]))):
                continue
            yield Hypothesis(
                kind="tree_limit",
                says=f"what is added is settled by the leaves of the last {count} trees of {name}",
                meaning=f"the last {count} trees are left out: an iteration range or tree limit",
                parameters={"column": name, "trees": count},
                bits=design.shape[1] * REAL_BITS / 2.0 + math.log2(len(_LAST)),
                values=sample.r + added,
                slack=slack * count,
            )
            break


def _added_up(design: Floats, apart: Floats, fitted: Mask) -> Floats:
    """[row]: the least-squares sum, again and again without the cells that it misses most."""
    used = fitted
    added = np.zeros(len(apart))
    for _ in range(_ROUNDS):
        gram = design[used].T @ design[used] + 1e-9 * np.eye(design.shape[1])
        added = design @ np.linalg.solve(gram, design[used].T @ apart[used])
        off = np.abs(apart - added)
        used = fitted & (off <= 3.0 * float(np.median(off[fitted])) + 1e-12)
    return added


def _one_hot(codes: Array) -> Floats:
    columns = [
        (codes[:, [tree]] == np.unique(codes[:, tree])).astype(np.float64)
        for tree in range(codes.shape[1])
    ]
    return np.concatenate(columns, axis=1)
