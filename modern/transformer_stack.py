"""The transformer as a stack: from a batch of requests to ranks, every module a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modern.calibration import pctr_from_logits
from modern.features import compute_features
from modern.features_columns import Columns, integers
from modern.forward import Forward, run_forward
from modern.history import StepTimes
from modern.history_lookup import OldSegments, look_up
from modern.history_store import HistoryStore, open_store
from modern.identity import torch_identity
from modern.inputs import ModelInputs, history_keys, inputs_from_features, no_times
from modern.module_places import AGE, AGE_BUCKET, OLD, PLACE, WEIGHT, ModulePlace, module_places
from modern.port_numerics import TWO_THREADS, on_threads, refuse_discrete
from modern.port_stack import ranks
from modern.precompute import artifact_key, check_precomputable
from modern.transformer_artifact import TransformerArtifact, in_form, load_artifact
from modern.transformer_checkpoints import logit_name, probability_name, transformer_checkpoints
from modern.transformer_config import Form, Task
from modern.transformer_faults import put_fault, transformer_faults
from replay.capabilities import Fault
from replay.checkpoint import CheckpointGraph
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

# Inputs, modules to record, and modules to values given for them, to what the pass gave.
RunForward = Callable[[ModelInputs, Sequence[ModulePlace], Mapping[ModulePlace, Array]], Forward]


def open_stack(
    artifact: Path,
    *,
    name: str = "modern",
    threads: int = 1,
    store: str | None = None,
    form: Form | None = None,
) -> TransformerStack:
    """Open the folder that `python -m modern train` wrote.

    Args:
        artifact: The folder.
        name: What reports call the stack.
        threads: torch's own threads; last bits may depend on them.
        store: Folder of old segments that were computed before (`python -m modern precompute`).
        form: "plain" or "shared": the same weights and function, computed in that form whatever
            the artifact says.

    Raises:
        ArtifactError: The folder is damaged, its files come from different trainings, or the store is
            damaged or of another artifact.
        ConfigError: The artifact's form is another function.
    """
    torch.set_num_threads(threads)
    path = Path(artifact)
    loaded = load_artifact(path)
    if form is not None:
        loaded = in_form(loaded, form)
    opened = None
    if store is not None:
        check_precomputable(loaded)
        opened = open_store(Path(store), weights=artifact_key(loaded))
    return TransformerStack(name=name, path=path, artifact=loaded, store=opened)


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformerStack:
    """A transformer over feature tokens, with its calibration.

    Attributes:
        name: What reports call it.
        path: The artifact's folder.
        artifact: What it computes with; a planted fault replaces a part of it.
        plants: The faults put into it, as "kind:checkpoint".
        store: Old segments that are looked up in place of being computed, in runs that neither
            record nor are given anything inside of the history.
        lookups: How many requests used the store, and why others did not.
        forward: What runs the modules; None means the artifact's own model.
    """

    name: str
    path: Path
    artifact: TransformerArtifact = field(repr=False)
    plants: tuple[str, ...] = ()
    store: HistoryStore | None = None
    lookups: Counter[str] = field(default_factory=Counter)
    forward: RunForward | None = None

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """Features, tokens, modules by path, outputs; a planted fault changes no declaration."""
        return transformer_checkpoints(self.artifact, stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again; a planted stack is another one."""
        digest = digest_of_path(self.path)
        form = self.artifact.config.transformer.form
        if form != self.artifact.manifest["config"]["transformer"]["form"]:
            digest = digest_of_json({"artifact": digest, "form": form})
        if self.plants:
            digest = digest_of_json({"artifact": digest, "planted": list(self.plants)})
        if self.store is not None:
            digest = digest_of_json(
                {"artifact": digest, "store": digest_of_path(self.store.folder)}
            )
        return torch_identity(
            name=self.name,
            digest=digest,
            training_id=self.artifact.training_id,
        )

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Compute what is captured, and what that needs.

        Raises:
            StackError: An unknown checkpoint, or `given` that does not fit.
            LogError: The log lacks a field of a feature, or holds another type there.
        """
        wanted = {name: self.checkpoints[name] for name in capture}
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        run = _Run(
            self.artifact,
            batch,
            capture=frozenset(wanted),
            given=given,
            look_up=None if self.store is None else partial(look_up, self.store, batch),
            lookups=self.lookups,
            forward=self.forward,
        )
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={name: run.produced(name) for name in wanted},
            checkpoints=self.checkpoints,
            capture=capture,
        )

    def variations(self) -> tuple[str, ...]:
        """As `replay.capabilities.Varies`."""
        return (TWO_THREADS,)

    def vary(
        self,
        variation: str,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Score with that one thing changed."""
        with on_threads(variation, stack=self.name):
            return self.score(batch, capture=capture, given=given)

    def recompute(
        self, batch: RequestBatch, capture: Collection[str], given: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float64]]:
        """As `replay.capabilities.Recomputes`: every module of the artifact's own model in float64.

        Logits and probabilities are rounded to float32 at their end.

        Raises:
            StackError: A checkpoint without real values.
        """
        refuse_discrete(self.checkpoints, capture, stack=self.name)
        run = _Run(
            replace(self.artifact, model=deepcopy(self.artifact.model).double()),
            batch,
            capture=frozenset(capture),
            given=given,
            look_up=None,
            lookups=Counter(),
            forward=None,
        )
        return {name: np.asarray(run.produced(name), np.float64) for name in capture}

    def faults(self) -> tuple[Fault, ...]:
        """Every fault it can really be given."""
        return transformer_faults(self.artifact)

    def planted(self, fault: Fault) -> TransformerStack:
        """A new stack with the fault in it; this one stays as it is.

        Raises:
            ConfigError: It has no such fault.
        """
        known = [f"{known.kind}:{known.checkpoint}" for known in self.faults()]
        asked = f"{fault.kind}:{fault.checkpoint}"
        if asked not in known:
            raise ConfigError(
                f"{asked} can not be planted (known: {', '.join(known)}).",
                where=f"stack {self.name!r}",
                fix="plant one of the known faults",
            )
        return TransformerStack(
            name=self.name,
            path=self.path,
            artifact=put_fault(self.artifact, fault),
            plants=(*self.plants, asked),
            # What was computed without the fault says nothing of it.
            store=None,
        )

    def weights(self) -> Mapping[str, Array]:
        """Parameters and statistics, named as in weights.safetensors."""
        return {
            name: tensor.detach().numpy()
            for name, tensor in self.artifact.model.state_dict().items()
        }

    def configuration(self) -> Mapping[str, str]:
        """What is set rather than learned, as it is: feature by feature, module by module."""
        features = self.artifact.feature_set.everything
        config = self.artifact.config
        found = {f"features.{feature.name}": repr(feature) for feature in features}
        for part, values in (("transformer", config.transformer), ("history", config.history)):
            found |= {f"{part}.{name}": str(value) for name, value in asdict(values).items()}
        for path, module in self.artifact.model.named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                found[f"{path}.eps"] = str(module.eps)
            elif isinstance(module, torch.nn.GELU):
                found[f"{path}.approximate"] = module.approximate
        return found


class _Run:
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
        inputs, old = self._inputs(), None
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

    def _inputs(self) -> ModelInputs:
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
