"""Fewer negatives to learn from, and what exactly makes up for it.

Of the candidates that ended in nothing only a share r is kept. Among what is kept the odds are
1 / r times the true ones, whatever the candidate, so a model of what is kept has to say

    logit of what is kept = true logit - log r

and is fitted through that equation: its logits stay those of the whole log. r is the share that was
kept, not the one that was asked for: of 1,300 kept negatives the two differ by 3 %, and so would
the level of all predictions. And each epoch draws its own: it costs the same, and a thousand negatives seen
again and again teach their own accidents, such as which weekday had few of them.
Source: King and Zeng 2001, "Logistic Regression in Rare Events Data", section 4.1 (prior
correction); He et al. 2014, section 6.3, undo it after the fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from modern.training.data import LabelledRequests
from modern.transformer.config import Task
from replay.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thinned:
    """What is left to learn from.

    Attributes:
        rows: The labelled candidates that are left.
        kept: [task] the share of the task's negatives that is among them; 1 where there were none.
    """

    rows: LabelledRequests
    kept: NDArray[np.float64]


def thin_negatives(
    rows: LabelledRequests,
    tasks: Sequence[Task],
    rates: Sequence[float],
    *,
    seed: int,
    epoch: int = 1,
) -> Thinned:
    """Keep each task's positives, and of its negatives this share; drop what says nothing more.

    A candidate has one chance for all tasks, so that with equal rates it stays or goes whole. A
    candidate of which no outcome is left is dropped, and a request without candidates.

    Args:
        rows: Everything that is labelled.
        tasks: In the order of the labels.
        rates: A task each, above 0, at most 1.
        seed: Of the draws.
        epoch: Each draws anew.

    Raises:
        ConfigError: Of a task's negatives none is left.
    """
    drawn = np.random.default_rng([seed, _STREAM, epoch]).random(len(rows))
    is_negative = rows.labels == 0
    is_dropped = is_negative & (drawn[:, None] >= np.asarray(rates))
    negatives, dropped = is_negative.sum(axis=0), is_dropped.sum(axis=0)
    for task, rate, before, gone in zip(tasks, rates, negatives, dropped, strict=True):
        if 0 < before == gone:
            raise ConfigError(
                f"of {before:,} negatives of {task!r} none is left at a rate of {rate:g}.",
                where="--negative-rate",
                fix="learn from a larger share of them, or from more days",
            )
    labels: NDArray[np.float32] = np.where(is_dropped, np.float32(np.nan), rows.labels)
    says_something: NDArray[np.bool_] = np.any(~np.isnan(labels), axis=1)
    return Thinned(
        rows=_kept(replace(rows, labels=labels), says_something),
        kept=1.0 - dropped / np.maximum(negatives, 1),
    )


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
