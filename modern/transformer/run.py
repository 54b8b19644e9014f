"""One batch through the transformer: every checkpoint once, from what is given where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch

from modern.features.columns import Columns, integers
from modern.features.feature_set import compute_features
from modern.ranking import ranks
from modern.transformer.artifact import TransformerArtifact
from modern.transformer.calibration import pctr_from_logits
from modern.transformer.checkpoints import logit_name, probability_name
from modern.transformer.config import Task
from modern.transformer.forward import Forward, run_forward
from modern.transformer.history import StepTimes
from modern.transformer.history_lookup import OldSegments
from modern.transformer.inputs import ModelInputs, history_keys, inputs_from_features, no_times
from modern.transformer.module_places import (
    AGE,
    AGE_BUCKET,
    OLD,
    PLACE,
    WEIGHT,
    ModulePlace,
    module_places,
)
from replay.request import RequestBatch
from replay.trace import Array

# Inputs, modules to record, and modules to values given for them, to what the pass gave.
RunForward = Callable[[ModelInputs, Sequence[ModulePlace], Mapping[ModulePlace, Array]], Forward]


class TransformerRun:
    """One batch: every checkpoint computed at most once, from what is given where it is."""

    def __init__(
        self,
        artifact: TransformerArtifact,
        batch: RequestBatch,
        *,
        capture: frozenset[str],
        given: Mapping[str, Array],
        look_up: Callable[[ModelInputs, Counter[str]], OldSegments] | None,
        lookups: Counter[str],
        forward: RunForward | None,
    ) -> None:
        self.artifact = artifact
        self.batch = batch
        self.capture = capture
        self.given = given
        self.look_up = look_up
        self.lookups = lookups
        self.run_forward = forward
        self.feature_set = artifact.feature_set
        self.history = history_keys(artifact.config.history)
        tasks = artifact.config.transformer.tasks
        self.tasks = {logit_name(artifact, task): place for place, task in enumerate(tasks)}
        self.probabilities = {probability_name(artifact, task): task for task in tasks}
        self.modules = {
            place.path: place
            for place in module_places(artifact.layout, artifact.config.transformer)
        }

    def produced(self, name: str) -> Array:
        """What the stack computes at a checkpoint."""
        if name.startswith("features."):
            return self.features[name.removeprefix("features.")]
        if name == AGE_BUCKET and self.look_up is not None:
            return self._age_bucket()
        if name in self.modules:
            return self.forward.recorded[name]
        if name in self.tasks:
            return self._logit(self.tasks[name])
        if name in self.probabilities:
            return self._probability(self.probabilities[name])
        steps: dict[str, Callable[[], Array]] = {
            AGE: lambda: self.times.age_hours,
            OLD: lambda: self.times.old,
            WEIGHT: lambda: self.weight,
            PLACE: lambda: self.place,
            "ecpm_micros": self._ecpm_micros,
        }
        return steps.get(name, self._rank)()

    def used(self, name: str) -> Array:
        """What the stack carries on with: what was given, else what it computed."""
        return self.given[name] if name in self.given else self.produced(name)

    @cached_property
    def features(self) -> Mapping[str, Array]:
        """Feature name to what the stack computes; only those that somebody reads."""
        captured = {n.removeprefix("features.") for n in self.capture if n.startswith("features.")}
        by_history = {AGE, OLD, PLACE, WEIGHT} & self.capture
        names = {feature.name for feature in self.feature_set.everything}
        if len(captured) + len(by_history) == len(self.capture):
            # Nothing but features, and what is read of a history by them.
            names = captured | (set(self.history.collapse_by) if by_history else set())
        return compute_features(self.batch, self.feature_set, names=names)

    @cached_property
    def times(self) -> StepTimes:
        """What the stack computes of when steps happened."""
        if not self.feature_set.steps:
            return no_times()
        return self.artifact.history_code.step_times(Columns(self.batch), self.history)

    @cached_property
    def weight(self) -> Array:
        """How many steps each step stands for, from what is used of times and features."""
        keys = {name: self.used(f"features.{name}") for name in self.history.collapse_by}
        return self.artifact.history_code.step_weights(
            self.batch.keys.step_offsets, self._used_times(), keys, self.history
        )

    @cached_property
    def place(self) -> Array:
        """Which steps are read, from what is used of their segments and weights."""
        return self.artifact.history_code.step_places(
            self.batch.keys.step_offsets, self.used(OLD), self.used(WEIGHT), self.history
        )

    @cached_property
    def forward(self) -> Forward:
        """One pass through the modules, over what was given for features and modules."""
        inputs, old = self.inputs(), None
        captured = self.capture if self.look_up is None else self.capture - {AGE_BUCKET}
        record = [self.modules[name] for name in self.modules if name in captured]
        given = {
            self.modules[name]: array for name, array in self.given.items() if name in self.modules
        }
        if self.run_forward is not None:
            return self.run_forward(inputs, record, given)
        if self.look_up is not None and not any(p.axis == "step" for p in (*record, *given)):
            old = self.look_up(inputs, self.lookups)
        return run_forward(self.artifact.model, inputs, old=old, record=record, given=given)

    def inputs(self) -> ModelInputs:
        """What the model reads, of what is used of features and history."""
        feature_set = self.feature_set
        features = {f.name: self.used(f"features.{f.name}") for f in feature_set.everything}
        reads = bool(feature_set.steps)
        return inputs_from_features(
            features,
            feature_set,
            keys=self.batch.keys,
            times=self._used_times(),
            weight=self.used(WEIGHT) if reads else np.zeros(0, np.float32),
            place=self.used(PLACE) if reads else np.zeros(0, np.int32),
        )

    def _age_bucket(self) -> Array:
        """Of every step that is read, also of those that a store spares the model.

        A replay screens all that is exact on every request: that must not keep it from the store.
        """
        ages = torch.from_numpy(self.used(AGE).copy())
        buckets: Array = self.artifact.model.step_tokens.age(ages).numpy()
        return np.where(self.used(PLACE) >= 0, buckets, -1)

    def _used_times(self) -> StepTimes:
        if not self.feature_set.steps:
            return no_times()
        return StepTimes(age_hours=self.used(AGE), old=self.used(OLD))

    def _logit(self, place: int) -> Array:
        return self.forward.logits[:, place]

    def _probability(self, task: Task) -> Array:
        logit = self.used(logit_name(self.artifact, task))
        return pctr_from_logits(logit, self.artifact.calibrations[task])

    def _ecpm_micros(self) -> Array:
        money = self.artifact.feature_set.money
        assert money is not None, "declared only where there is money"
        bids = integers(self.batch.column(money))
        ecpm: Array = 1000.0 * self.used("pctr").astype(np.float64) * bids
        return ecpm

    def _rank(self) -> Array:
        ranked_by = "pctr" if self.artifact.feature_set.money is None else "ecpm_micros"
        return ranks(self.used(ranked_by), self.batch.keys)
