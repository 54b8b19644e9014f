"""Another checkpoint's values: swapped columns, and terms that were left out or counted twice."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from replay.trace import Array


def column_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """The values of another captured checkpoint, or the value with a parent taken out of it."""
    beside = dict(_alike(sample))
    choice = math.log2(max(len(beside), 1))
    for name, values in beside.items():
        is_parent = name in sample.evidence.parents
        yield Hypothesis(
            kind="step_left_out" if is_parent else "swapped_columns",
            says=f"challenger = {name} of the reference",
            meaning="the step passes its input through" if is_parent else "columns are swapped",
            parameters={"column": name},
            bits=choice,
            values=values,
            certain=sample.meets_each_value(values),
        )
        if is_parent and not sample.is_integer:
            yield from _terms(sample, name, values, choice)


def _alike(sample: Sample) -> Iterator[tuple[str, Array]]:
    """Checkpoints of the same shape and kind that say something else than this one."""
    shape = sample.evidence.reference.shape[1:]
    for name, values in sample.evidence.others.items():
        if values.shape[1:] != shape or values.dtype.kind not in "fiub":
            continue
        if (values.dtype.kind == "f") == sample.is_integer:
            continue
        flat = sample.beside(values).reshape(len(sample.rows), -1)[:, sample.channels].reshape(-1)
        yield name, flat.astype(sample.reference.dtype)


def _terms(sample: Sample, name: str, values: Array, choice: float) -> Iterator[Hypothesis]:
    scale = float(np.nanmax(np.abs(values), initial=0.0))
    slack = np.full(len(values), 4.0 * float(np.spacing(np.float32(scale))))
    with np.errstate(all="ignore"):
        for says, meaning, predicted in (
            (f"challenger = reference - {name}", f"the term {name} is left out",
             sample.r - values),
            (f"challenger = reference + {name}", f"the term {name} is counted twice",
             sample.r + values),
            (f"challenger = reference / {name}", f"the factor {name} is left out",
             sample.r / values),
            (f"challenger = reference x {name}", f"the factor {name} is counted twice",
             sample.r * values),
        ):  # fmt: skip
            yield Hypothesis(
                kind="term_left_out",
                says=says,
                meaning=meaning,
                parameters={"term": name},
                bits=choice + 2.0,
                values=predicted,
                slack=slack,
            )
