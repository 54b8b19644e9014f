"""The transformer as a stack: from a batch of requests to ranks, every module a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modern.identity import torch_identity
from modern.transformer.artifact import TransformerArtifact, in_form, load_artifact
from modern.transformer.checkpoints import transformer_checkpoints
from modern.transformer.config import Form
from modern.transformer.faults import put_fault, transformer_faults
from modern.transformer.gradients import gradients_of
from modern.transformer.history_lookup import look_up
from modern.transformer.history_store import HistoryStore, open_store
from modern.transformer.precompute import artifact_key, check_precomputable
from modern.transformer.run import RunForward, TransformerRun
from modern.variations import TWO_THREADS, on_threads, refuse_discrete
from replay.capabilities import Fault
from replay.checkpoint import CheckpointGraph
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError, StackError
from replay.layer_functions import settings_of_class
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace


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
        run = TransformerRun(
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
        wide = replace(self.artifact, model=deepcopy(self.artifact.model).double())
        run = self._run(wide, batch, capture, given)
        return {name: np.asarray(run.produced(name), np.float64) for name in capture}

    def gradients(
        self, batch: RequestBatch, capture: Collection[str], weights: Array
    ) -> dict[str, Array]:
        """As `replay.capabilities.Differentiates`; codes, and ages that are read by bucket, have none.

        Raises:
            StackError: Another program than the artifact's own model runs the modules.
        """
        if self.forward is not None:
            raise StackError(
                "an exported program gives no gradients.",
                where=f"stack {self.name!r}",
                fix="differentiate the artifact it was exported from",
            )
        run = self._run(self.artifact, batch, self.checkpoints)
        places = [p for name, p in run.modules.items() if name in capture and not p.discrete]
        found = gradients_of(self.artifact.model, run.inputs(), weights, places=places)
        layout = self.artifact.layout
        by_name = found.modules | found.of_features(layout) | {"logit": np.asarray(weights)}
        return {name: by_name[name] for name in capture if name in by_name}

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
            words = settings_of_class(type(module).__name__)
            found |= {f"{path}.{name}": word for name, word in words.items()}
            if isinstance(module, torch.nn.LayerNorm):
                found[f"{path}.eps"] = str(module.eps)
            elif isinstance(module, torch.nn.GELU):
                found[f"{path}.approximate"] = module.approximate
        return found

    def _run(
        self,
        artifact: TransformerArtifact,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> TransformerRun:
        """A batch through a model of its own, without the store and what else may run it."""
        return TransformerRun(
            artifact,
            batch,
            capture=frozenset(capture),
            given=given,
            look_up=None,
            lookups=Counter(),
            forward=None,
        )
