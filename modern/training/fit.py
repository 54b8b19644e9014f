"""Fit the transformer to labelled candidates: one seed, one thread, the same bytes again."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modern.training.data import LabelledRequests, Parts
from modern.training.fitting import Fitting
from modern.training.metrics import log_losses
from modern.training.sampling import thin_negatives
from modern.training.state import StateFile
from modern.transformer.forward import logits_of
from modern.transformer.inputs import ModelInputs
from modern.transformer.layout import TokenLayout
from modern.transformer.model import RankingTransformer
from modern.transformer.tokens import Statistics, statistics_of
from modern.transformer.training_config import ModernConfig, TrainingConfig

Report = Callable[["Epoch | Progress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass over the rows gave.

    Attributes:
        log_loss: Mean over all known outcomes of the stopping part, in nats.
        fit: By task, the mean over what was learned from (dropout on, negatives thinned); None
            where nothing was known.
        stopping: By task, on the stopping part.
        best: Its log loss is the lowest so far; its weights are kept.
    """

    number: int
    log_loss: float
    fit: tuple[float | None, ...]
    stopping: tuple[float | None, ...]
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        epoch: The one that runs, from 1.
        share: Of its steps that are done.
        left_s: Seconds left if every epoch is run; it may stop earlier.
    """

    epoch: int
    share: float
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """What a fit came to.

    Attributes:
        model: In evaluation mode, on the CPU, with the weights of the best epoch.
        epochs: All that were run, in order.
    """

    model: RankingTransformer
    epochs: tuple[Epoch, ...]


def fit_transformer(
    parts: Parts,
    layout: TokenLayout,
    config: ModernConfig,
    *,
    start: Callable[[RankingTransformer], None] = lambda _: None,
    state: StateFile | None = None,
    device: str = "cpu",
    report: Report = lambda _: None,
) -> Fitted:
    """The weights, averaged over about an epoch, that had the lowest log loss on `parts.stopping`.

    Averaging makes the epochs comparable: with a few hundred clicks single steps are noise.
    The weights of the first epoch stand where the stopping part holds no rows.

    Args:
        parts: What to learn from, and what chooses the epoch.
        layout: Which features become tokens.
        config: Of the model and its training.
        start: Puts weights of an earlier training into the new model.
        state: Where the training is kept while it runs; one that was killed goes on from there.
        device: Of torch. Only one thread of a CPU promises the same bytes again.
        report: Called after each epoch, and every few seconds between.
    """
    training = config.training
    rates = training.rates_of(config.transformer.tasks)
    with repeatable(training):
        model = RankingTransformer(
            layout,
            config.transformer,
            config.history,
            statistics=statistics_of_inputs(parts.fit.inputs),
            prior_logits=tuple(_log_odds(label) for label in parts.fit.labels.T),
        )
        model.codes.draw(_codes_by_side(parts.fit.inputs))
        start(model)
        tasks, seed = config.transformer.tasks, training.seed
        fitting = Fitting(
            model.to(device),
            lambda epoch: thin_negatives(parts.fit, tasks, rates, seed=seed, epoch=epoch),
            training,
        )
        choice = _Choice(fitting.averaged)
        if state is not None and (found := state.load()) is not None:
            fitting.restore(found["fitting"])
            choice.restore(found["choice"])
        watch = _Watch(fitting, choice, state, report)
        while fitting.epoch <= training.epochs and choice.since < training.patience:
            losses = fitting.run_epoch(watch.after_step)
            report(choice.judge(fitting.averaged, parts.stopping, losses))
    return Fitted(model=choice.best.eval().requires_grad_(False), epochs=tuple(choice.epochs))


class _Choice:
    """The best epoch so far, and how long it has been the best."""

    def __init__(self, model: RankingTransformer) -> None:
        self.best = copy.deepcopy(model).cpu()
        self.epochs: list[Epoch] = []

    @property
    def since(self) -> int:
        """Epochs since the best one."""
        return next((i for i, epoch in enumerate(reversed(self.epochs)) if epoch.best), 0)

    def judge(
        self,
        averaged: RankingTransformer,
        stopping: LabelledRequests,
        fit: tuple[float | None, ...],
    ) -> Epoch:
        """Compare the epoch that just ended with the best one before it."""
        model = copy.deepcopy(averaged).cpu()
        log_loss, by_task = _mean_losses(model, stopping)
        lowest = min((epoch.log_loss for epoch in self.epochs), default=math.inf)
        epoch = Epoch(
            number=len(self.epochs) + 1,
            log_loss=log_loss,
            fit=fit,
            stopping=by_task,
            best=log_loss < lowest,
        )
        self.epochs.append(epoch)
        if epoch.best:
            self.best = model
        return epoch

    def state(self) -> dict[str, Any]:
        return {"best": self.best.state_dict(), "epochs": [asdict(e) for e in self.epochs]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best.load_state_dict(state["best"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]


class _Watch:
    """Tells how long it will take, and keeps the training's state, every so often."""

    def __init__(
        self, fitting: Fitting, choice: _Choice, state: StateFile | None, report: Report
    ) -> None:
        self.fitting, self.choice, self.state, self.report = fitting, choice, state, report
        self.every_s = SAY_EVERY_S if state is None else state.every_s
        self.started = self.told = time.monotonic()
        self.done_before = fitting.epoch - 1 + fitting.place / max(fitting.steps_per_epoch, 1)

    def after_step(self, share: float) -> None:
        """Whatever the clock says, the weights are the same."""
        now = time.monotonic()
        if now - self.told < self.every_s:
            return
        self.told = now
        done = self.fitting.epoch - 1 + share
        left = (self.fitting.config.epochs - done) / max(done - self.done_before, 1e-9)
        self.report(
            Progress(epoch=self.fitting.epoch, share=share, left_s=left * (now - self.started))
        )
        if self.state is not None:
            self.state.save({"fitting": self.fitting.state(), "choice": self.choice.state()})


# As often as a person looks.
SAY_EVERY_S = 10.0


def statistics_of_inputs(inputs: ModelInputs) -> Statistics:
    """Of the real features of the rows a training reads."""
    return Statistics(
        request=statistics_of(inputs.request_real),
        candidate=statistics_of(inputs.candidate_real),
        step=statistics_of(inputs.step_real),
    )


def _codes_by_side(inputs: ModelInputs) -> dict[str, torch.Tensor]:
    """[row, discrete feature] of each kind of row; without history steps have none."""
    return {
        side: torch.from_numpy(getattr(inputs, f"{side}_codes"))
        for side in ("request", "candidate", "step")
    }


def _log_odds(label: NDArray[np.float32]) -> float:
    """Of the known outcomes; between never and always, with one seen either way."""
    known = label[~np.isnan(label)]
    clicks = min(max(float(known.sum()), 1.0), max(len(known) - 1.0, 1.0))
    rate = clicks / max(len(known), 2)
    return math.log(rate / (1 - rate))


def _mean_losses(
    model: RankingTransformer, rows: LabelledRequests
) -> tuple[float, tuple[float | None, ...]]:
    """Over all known outcomes together, and of each task; 0 where there are no rows."""
    if not len(rows):
        return 0.0, tuple(None for _ in model.config.tasks)
    probability = torch.from_numpy(logits_of(model, rows.inputs)).double().sigmoid().numpy()
    known = ~np.isnan(rows.labels)
    losses = np.where(known, log_losses(probability, rows.labels == 1), 0.0)
    pairs = zip(losses.sum(axis=0).tolist(), known.sum(axis=0).tolist(), strict=True)
    by_task = [s / n if n else None for s, n in pairs]
    return float(losses.sum() / max(known.sum(), 1)), tuple(by_task)


@contextmanager
def repeatable(config: TrainingConfig) -> Iterator[None]:
    """Seed the generator and fix the threads, and leave both as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            yield
    finally:
        torch.set_num_threads(threads)
