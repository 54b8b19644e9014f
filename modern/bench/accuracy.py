"""How far logits are from those of float64, and what that does to probabilities and ranks."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from modern.engine.buckets import Bucket, Pass
from modern.engine.staging import Staging, steps_read, widths_of
from modern.transformer.inputs import ModelInputs
from modern.transformer.model import RankingTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One set of logits against another.

    Attributes:
        logit_error: Norm of the difference over the norm of the reference (its mean taken off).
        largest_dp: Largest difference of a probability.
        sum_p_ratio: Sum of probabilities over the reference's.
        pair_flips: Share of pairs of neighbouring candidates that change their order.
    """

    logit_error: float
    largest_dp: float
    sum_p_ratio: float
    pair_flips: float


def accuracy_of(logits: NDArray[np.floating], reference: NDArray[np.floating]) -> Accuracy:
    """Compare [candidate, task] logits; NaN is never close."""
    wide, exact = logits.astype(np.float64), reference.astype(np.float64)
    spread = float(np.linalg.norm(exact - exact.mean(axis=0)))
    p, q = (1.0 / (1.0 + np.exp(-x)) for x in (wide, exact))
    flips = (np.sign(np.diff(wide, axis=0)) != np.sign(np.diff(exact, axis=0))).mean()
    return Accuracy(
        logit_error=float(np.linalg.norm(wide - exact)) / spread,
        largest_dp=float(np.abs(p - q).max()),
        sum_p_ratio=float(p.sum() / q.sum()),
        pair_flips=float(flips),
    )


def exact_logits(
    model: RankingTransformer, inputs: ModelInputs, device: str
) -> NDArray[np.float64]:
    """[candidate, task], the model in float64, a request at a time."""
    counts = np.diff(inputs.candidate_offsets)
    wide = _double(model).to(device)
    found = np.empty((inputs.num_candidates, len(model.config.tasks)), dtype=np.float64)
    for request, (steps, candidates) in enumerate(zip(steps_read(inputs), counts, strict=True)):
        bucket = Bucket(requests=1, steps=max(int(steps), 1), candidates=int(candidates))
        staging = Staging(bucket, widths_of(inputs), torch.device("cpu"))
        one = Pass(bucket=bucket, requests=np.array([request]))
        staging.fill(inputs, one)
        tensors = (x.double() if x.is_floating_point() else x for x in staging.tensors)
        with torch.no_grad():
            logits = wide(*(x.to(device) for x in tensors)).cpu()
        staging.collect(logits, found, inputs, one)
    return found


def _double(model: RankingTransformer) -> RankingTransformer:
    wide: RankingTransformer = copy.deepcopy(model).double()
    return wide
