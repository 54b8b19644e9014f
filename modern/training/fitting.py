"""A model in training: its steps, the running average of its weights, and where it stands."""

# B = requests of a step, K = candidates, H = tasks, C = the step's labelled candidates

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.training.batches import batches_of_epoch
from modern.training.sampling import Thinned
from modern.transformer.inputs import Ints
from modern.transformer.model import RankingTransformer
from modern.transformer.padding import (
    candidate_slots,
    candidate_tensors,
    request_tensors,
    step_slots,
)
from modern.transformer.training_config import TrainingConfig

LARGEST_GRADIENT = 1.0
# AdamW draws towards zero what carries information, not norms, biases and the task token.
DECAYED = (".weight", "direction_RD", "embedding_VD", "embedding_AD", "missing_RD")


class Fitting:
    """Everything that the next step depends on; `state` and `restore` carry it over a kill.

    Args:
        model: Trained in place, on its device.
        rows_of_epoch: What is learned from in the first epoch, the second, ...; the same again when asked again.
        config: Of the training.
        base: [candidate, task] log-odds of another model, which this one's are added to; for rows
            that are the same in every epoch.
    """

    def __init__(
        self,
        model: RankingTransformer,
        rows_of_epoch: Callable[[int], Thinned],
        config: TrainingConfig,
        *,
        base: NDArray[np.float32] | None = None,
    ) -> None:
        self.model = model.train()
        self.averaged = copy.deepcopy(model).eval()
        self.config = config
        self.rows_of_epoch = rows_of_epoch
        self.device = model.prior_logit_H.device
        self.base_CH = None if base is None else torch.from_numpy(base)
        self._read(rows_of_epoch(1))
        # Warm-up and averaging go by the first epoch's; where rows are drawn others differ a little.
        self.steps_per_epoch = math.ceil(len(self.rows) / config.batch_size)
        self.epoch, self.place, self.steps = 1, 0, 0
        self.losses = np.zeros((2, self.rows.labels.shape[1]))  # sums and counts of this epoch
        self.optimiser = torch.optim.AdamW(
            [
                {"params": self._parameters(decayed=True), "weight_decay": config.weight_decay},
                {"params": self._parameters(decayed=False), "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )

    def run_epoch(self, after_step: Callable[[float], None]) -> tuple[float | None, ...]:
        """One pass over the requests, or what is left of it.

        Args:
            after_step: Called with the share of the pass that is done.

        Returns:
            The mean log loss of each task in nats; None where no outcome was known.
        """
        self._freeze()
        rng = np.random.default_rng([self.config.seed, self.epoch])
        inputs, size = self.rows.inputs, self.config.batch_size
        batches = batches_of_epoch(inputs, num_candidates=size, rng=rng)
        for requests in batches[self.place :]:
            self._step(requests)
            self.place += 1
            after_step(self.place / len(batches))
        sums, counts = self.losses
        self.epoch, self.place = self.epoch + 1, 0
        self.losses = np.zeros_like(self.losses)
        if self.epoch <= self.config.epochs:
            self._read(self.rows_of_epoch(self.epoch))
        pairs = zip(sums.tolist(), counts.tolist(), strict=True)
        return tuple(s / n if n else None for s, n in pairs)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values; `restore` is its inverse."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "place": [self.epoch, self.place, self.steps],
            "losses": self.losses.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self.epoch, self.place, self.steps = state["place"]
        self.losses = np.array(state["losses"])
        self._read(self.rows_of_epoch(self.epoch))

    def _read(self, thinned: Thinned) -> None:
        """Learn from these rows until the next ones come."""
        self.rows = thinned.rows
        self.label_CH = torch.from_numpy(thinned.rows.labels)
        self.log_rate_H = torch.from_numpy(np.log(thinned.kept).astype(np.float32)).to(self.device)

    def _step(self, requests: Ints) -> None:
        inputs = self.rows.inputs
        candidates = candidate_slots(inputs, requests, 0, len(self.rows))
        tensors = (
            *request_tensors(inputs, requests, step_slots(inputs, requests)),
            *candidate_tensors(inputs, candidates),
        )
        logit_BKH = self.model(*(tensor.to(self.device) for tensor in tensors))
        logit_CH = logit_BKH[candidates.request, candidates.slot]
        if self.base_CH is not None:
            logit_CH = logit_CH + self.base_CH[candidates.rows].to(self.device)
        label_CH = self.label_CH[candidates.rows].to(self.device)
        loss_CH = known_losses(logit_CH - self.log_rate_H, label_CH)
        known_H = (~label_CH.isnan()).sum(dim=0)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss_CH.sum() / known_H.sum())
        nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        # The first half epoch warms up: Adam's second moments mean nothing yet.
        warm_up = max(1, self.steps_per_epoch // 2)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, (self.steps + 1) / warm_up)
        self.optimiser.step()
        self.steps += 1
        self.losses += np.stack(
            [loss_CH.detach().double().sum(dim=0).cpu().numpy(), known_H.cpu().numpy()]
        )
        share = max(1 / self.steps, 1 / self.steps_per_epoch)
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.model.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, share)

    def _freeze(self) -> None:
        """What the configuration freezes learns nothing in the first epochs, and does not decay."""
        for name, parameter in self.model.named_parameters():
            frozen = self.epoch <= self.config.frozen_epochs and is_within(name, self.config.frozen)
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None

    def _parameters(self, *, decayed: bool) -> list[nn.Parameter]:
        return [
            parameter
            for name, parameter in self.model.named_parameters()
            if decayed == (name.endswith(DECAYED) and parameter.ndim > 1)
        ]


def known_losses(logit_CH: Tensor, label_CH: Tensor) -> Tensor:
    """[candidate, task] log loss in nats; 0, without a gradient, where the label is NaN."""
    known_CH = ~label_CH.isnan()
    loss_CH = nn.functional.binary_cross_entropy_with_logits(
        logit_CH, label_CH.nan_to_num(nan=0.0), reduction="none"
    )
    return torch.where(known_CH, loss_CH, torch.zeros_like(loss_CH))


def is_within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a parameter belongs to one of these modules (or is one of these)."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
