"""Fit the transformer to labelled candidates: one seed, one thread, the same bytes again."""

# B = requests of a step, K = candidates, H = tasks, C = its labelled candidates

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.config import ModernConfig, TrainingConfig
from modern.data import LabelledRequests, Parts
from modern.forward import logits_of
from modern.inputs import Ints, ModelInputs
from modern.layout import TokenLayout
from modern.metrics import log_losses
from modern.padding import candidate_slots, candidate_tensors, request_tensors, step_slots
from modern.tokens import Statistics, statistics_of
from modern.transformer import RankingTransformer

LARGEST_GRADIENT = 1.0
# AdamW draws towards zero what carries information, not norms, biases and the task token.
DECAYED = (".weight", "direction_RD", "embedding_VD", "embedding_AD", "missing_RD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass over the rows gave.

    Attributes:
        log_loss: Mean over the stopping part, in nats.
        best: It is the lowest so far; its weights are kept.
    """

    number: int
    log_loss: float
    best: bool


def fit_transformer(
    parts: Parts,
    layout: TokenLayout,
    config: ModernConfig,
    *,
    report: Callable[[Epoch], None] = lambda _: None,
) -> RankingTransformer:
    """The weights, averaged over about an epoch, that had the lowest log loss on `parts.stopping`.

    Averaging makes the epochs comparable: with a few hundred clicks single steps are noise.
    The weights of the first epoch stand where the stopping part holds no rows.
    """
    training = config.training
    with _repeatable(training):
        model = RankingTransformer(
            layout,
            config.transformer,
            config.history,
            statistics=statistics_of_inputs(parts.fit.inputs),
            prior_logits=tuple(_log_odds(label) for label in parts.fit.labels.T),
        )
        fitting = _Fitting(model, parts.fit, training)
        best, best_loss, since = copy.deepcopy(model), math.inf, 0
        for number in range(1, training.epochs + 1):
            fitting.run_epoch()
            loss = _mean_loss(fitting.averaged, parts.stopping)
            improved = loss < best_loss
            report(Epoch(number=number, log_loss=loss, best=improved))
            if improved:
                best, best_loss, since = copy.deepcopy(fitting.averaged), loss, 0
            elif (since := since + 1) == training.patience:
                break
    return best.eval().requires_grad_(False)


class _Fitting:
    """A model in training with its optimiser and the running average of its weights."""

    def __init__(
        self, model: RankingTransformer, rows: LabelledRequests, config: TrainingConfig
    ) -> None:
        self.model = model.train()
        self.averaged = copy.deepcopy(model).eval()
        self.batch_size = config.batch_size
        self.rows = rows
        self.label_CH = torch.from_numpy(rows.labels)
        self.steps_per_epoch = math.ceil(len(rows) / config.batch_size)
        self.steps = 0
        decayed = [p for n, p in model.named_parameters() if n.endswith(DECAYED) and p.ndim > 1]
        plain = [p for n, p in model.named_parameters() if not n.endswith(DECAYED) or p.ndim == 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        warm_up = max(1, self.steps_per_epoch // 2)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: min(1.0, (step + 1) / warm_up)
        )

    def run_epoch(self) -> None:
        """One pass over the requests in a new order."""
        order = torch.randperm(len(self.rows.inputs)).numpy()
        sizes = np.diff(self.rows.inputs.candidate_offsets)[order]
        # A step ends with the request whose candidates fill the batch.
        step_of = (np.cumsum(sizes) - sizes) // self.batch_size
        for requests in np.split(order, np.flatnonzero(np.diff(step_of)) + 1):
            self._step(requests)

    def _step(self, requests: Ints) -> None:
        inputs = self.rows.inputs
        candidates = candidate_slots(inputs, requests, 0, len(self.rows))
        logit_BKH = self.model(
            *request_tensors(inputs, requests, step_slots(inputs, requests)),
            *candidate_tensors(inputs, candidates),
        )
        logit_CH = logit_BKH[candidates.request, candidates.slot]
        loss = masked_loss(logit_CH, self.label_CH[candidates.rows])
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.schedule.step()
        self.steps += 1
        share = max(1 / self.steps, 1 / self.steps_per_epoch)
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.model.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, share)


def masked_loss(logit_CH: Tensor, label_CH: Tensor) -> Tensor:
    """Log loss in nats, a mean over the outcomes that are known (not NaN)."""
    known_CH = ~label_CH.isnan()
    return nn.functional.binary_cross_entropy_with_logits(logit_CH[known_CH], label_CH[known_CH])


def statistics_of_inputs(inputs: ModelInputs) -> Statistics:
    """Of the real features of the rows a training reads."""
    return Statistics(
        request=statistics_of(inputs.request_real),
        candidate=statistics_of(inputs.candidate_real),
        step=statistics_of(inputs.step_real),
    )


def _log_odds(label: NDArray[np.float32]) -> float:
    """Of the known outcomes; between never and always, with one seen either way."""
    known = label[~np.isnan(label)]
    clicks = min(max(float(known.sum()), 1.0), max(len(known) - 1.0, 1.0))
    rate = clicks / max(len(known), 2)
    return math.log(rate / (1 - rate))


def _mean_loss(model: RankingTransformer, rows: LabelledRequests) -> float:
    if not len(rows):
        return 0.0
    probability = torch.from_numpy(logits_of(model, rows.inputs)).double().sigmoid().numpy()
    known = ~np.isnan(rows.labels)
    return float(log_losses(probability[known], rows.labels[known] == 1).mean())


@contextmanager
def _repeatable(config: TrainingConfig) -> Iterator[None]:
    """Seed the generator and fix the threads, and leave both as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            yield
    finally:
        torch.set_num_threads(threads)
