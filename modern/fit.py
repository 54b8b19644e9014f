"""Fit the transformer to labelled candidates: one seed, one thread, the same bytes again."""

# C = candidates of a step

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from modern.config import ModernConfig, TrainingConfig
from modern.data import LabelledRows, Parts
from modern.forward import logits_of
from modern.metrics import log_losses
from modern.tokens import TokenLayout, statistics_of
from modern.transformer import Transformer

LARGEST_GRADIENT = 1.0
# AdamW draws towards zero what carries information, not norms, biases and the task token.
DECAYED = (".weight", "direction_RD", "embedding_VD", "missing_RD")


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
) -> Transformer:
    """The weights, averaged over about an epoch, that had the lowest log loss on `parts.stopping`.

    Averaging makes the epochs comparable: with a few hundred clicks single steps are noise.
    The weights of the first epoch stand where the stopping part holds no rows.
    """
    training = config.training
    with _repeatable(training):
        prior = float(parts.fit.click.mean())
        model = Transformer(
            layout,
            config.transformer,
            statistics=statistics_of(parts.fit.inputs.real),
            prior_logit=math.log(prior / (1 - prior)),
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

    def __init__(self, model: Transformer, rows: LabelledRows, config: TrainingConfig) -> None:
        self.model = model.train()
        self.averaged = copy.deepcopy(model).eval()
        self.batch_size = config.batch_size
        self.real_CR = torch.from_numpy(rows.inputs.real)
        self.code_CN = torch.from_numpy(rows.inputs.codes)
        self.click_C = torch.from_numpy(rows.click.astype(np.float32))
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
        """One pass over the rows in a new order."""
        order = torch.randperm(len(self.click_C))
        for rows in torch.split(order, self.batch_size):
            self._step(rows)

    def _step(self, rows: Tensor) -> None:
        logit_C = self.model(self.real_CR[rows], self.code_CN[rows])
        loss = nn.functional.binary_cross_entropy_with_logits(logit_C, self.click_C[rows])
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


def _mean_loss(model: Transformer, rows: LabelledRows) -> float:
    if not len(rows):
        return 0.0
    pctr = torch.from_numpy(logits_of(model, rows.inputs)).double().sigmoid().numpy()
    return float(log_losses(pctr, rows.click).mean())


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
