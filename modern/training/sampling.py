"""Fewer negatives to learn from, and what exactly makes up for it.

Of the candidates that ended in nothing only a share r is kept. Among what is kept the odds are
1 / r times the true ones, whatever the candidate, so a model of what is kept has to say

    logit of what is kept = true logit - log r

and is fitted through that equation: its logits stay those of the whole log.
Source: King and Zeng 2001, "Logistic Regression in Rare Events Data", section 4.1 (prior
correction); He et al. 2014, section 6.3, undo it after the fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modern.training.data import LabelledRequests


def thin_negatives(
    rows: LabelledRequests, rates: Sequence[float], *, seed: int
) -> LabelledRequests:
    """Keep each task's positives, and of its negatives this share; drop what says nothing more.

    A candidate has one chance for all tasks, so that with equal rates it stays or goes whole. A
    candidate of which no outcome is left is dropped, and a request without candidates.

    Args:
        rows: Everything that is labelled.
        rates: A task each, above 0, at most 1.
        seed: Of the draws.
    """
    drawn = np.random.default_rng([seed, _STREAM]).random(len(rows))
    is_dropped = (rows.labels == 0) & (drawn[:, None] >= np.asarray(rates))
    labels: NDArray[np.float32] = np.where(is_dropped, np.float32(np.nan), rows.labels)
    says_something: NDArray[np.bool_] = np.any(~np.isnan(labels), axis=1)
    return _kept(replace(rows, labels=labels), says_something)


# Keeps these draws apart from all others of the same seed.
_STREAM = 0x6E656761


def _kept(rows: LabelledRequests, candidates: NDArray[np.bool_]) -> LabelledRequests:
    if candidates.all():
        return rows
    inputs = rows.inputs
    before = np.concatenate([[0], np.cumsum(candidates)])
    fewer = replace(
        rows,
        inputs=replace(
            inputs,
            candidate_real=inputs.candidate_real[candidates],
            candidate_codes=inputs.candidate_codes[candidates],
            candidate_offsets=before[inputs.candidate_offsets],
        ),
        labels=rows.labels[candidates],
    )
    return fewer.take(np.diff(fewer.inputs.candidate_offsets) > 0)
