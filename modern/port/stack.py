"""The ported legacy model as a stack: checkpoints computed on demand, each of them settable."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modern.features.columns import Columns, integers
from modern.features.feature_set import FeatureSet
from modern.identity import torch_identity
from modern.port.checkpoints import port_checkpoints
from modern.port.faults import port_faults, put_fault
from modern.port.legacy_artifact import LegacyArtifact, read_artifact
from modern.port.model import LegacyPort
from modern.port.numerics import gradients_of, in_float64
from modern.port.parts import Parts
from modern.ranking import ranks
from modern.variations import TWO_THREADS, on_threads, refuse_discrete
from replay.capabilities import Fault, TreeStructure
from replay.checkpoint import CheckpointGraph
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError, StackError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

__all__ = ["PortStack", "open_stack", "ranks"]


def open_stack(artifact: Path, *, name: str = "port", threads: int = 1) -> PortStack:
    """Open a legacy artifact's folder with the ported model.

    Args:
        artifact: The folder (docs/formats.md).
        name: What reports call the stack.
        threads: torch's own threads; last bits may depend on them.

    Raises:
        ArtifactError: The folder is damaged, or its files come from different trainings.
    """
    torch.set_num_threads(threads)
    read = read_artifact(Path(artifact))
    parts = Parts(artifact=read, features=read.features, model=LegacyPort(read))
    return PortStack(name=name, path=Path(artifact), parts=parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class PortStack:
    """The legacy model in PyTorch, over columnar features.

    Attributes:
        name: What reports call it.
        path: The artifact's folder.
        parts: What it computes with; a planted fault replaces one of them.
        plants: The faults put into it, as "kind:checkpoint".
    """

    name: str
    path: Path
    parts: Parts = field(repr=False)
    plants: tuple[str, ...] = ()

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """As declared by docs/features.md; a planted fault changes no declaration."""
        return port_checkpoints(self.parts.artifact, stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again; a planted stack is another one."""
        digest = digest_of_path(self.path)
        if self.plants:
            digest = digest_of_json({"artifact": digest, "planted": list(self.plants)})
        return torch_identity(
            name=self.name,
            digest=digest,
            training_id=self.parts.artifact.training_id,
            packages=("torch", "numpy", "pyarrow"),
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
        checkpoints = self.checkpoints
        check_given(given, checkpoints, batch.keys, stack=self.name)
        run = _Run(self.parts, batch, given, stack=self.name)
        with torch.inference_mode():
            values = {checkpoints[name].name: run.produced(name) for name in capture}
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=values,
            checkpoints=checkpoints,
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
        """As `replay.capabilities.Recomputes`: features and money are float64 as they are.

        Raises:
            StackError: A checkpoint without real values.
        """
        refuse_discrete(self.checkpoints, capture, stack=self.name)
        run = _Run(self.parts, batch, given, stack=self.name)
        with torch.inference_mode():
            values = {"gbdt.leaves": run.used("gbdt.leaves"), "columns": run.category_columns()}
            wide = in_float64(self.parts.artifact, values, given, trees=self.parts.model.num_trees)
            found = {name: wide[name] if name in wide else run.produced(name) for name in capture}
        return {name: np.asarray(array, np.float64) for name, array in found.items()}

    def gradients(
        self, batch: RequestBatch, capture: Collection[str], weights: Array
    ) -> dict[str, Array]:
        """As `replay.capabilities.Differentiates`, of the regression."""
        assert len(weights) == batch.num_candidates, "one weight a candidate"
        return gradients_of(capture, weights)

    def faults(self) -> tuple[Fault, ...]:
        """Every fault it can really be given."""
        return port_faults(self.parts)

    def planted(self, fault: Fault) -> PortStack:
        """A new stack with the fault in it; this one stays as it is.

        Raises:
            ConfigError: It has no such fault.
        """
        known = {(f.kind, f.checkpoint) for f in self.faults()}
        if (fault.kind, fault.checkpoint) not in known:
            offered = ", ".join(f"{kind}:{checkpoint}" for kind, checkpoint in sorted(known))
            raise ConfigError(
                f"{fault.kind}:{fault.checkpoint} can not be planted (known: {offered}).",
                where=f"stack {self.name!r}",
                fix="plant one of the known faults",
            )
        return PortStack(
            name=self.name,
            path=self.path,
            parts=put_fault(self.parts, fault),
            plants=(*self.plants, f"{fault.kind}:{fault.checkpoint}"),
        )

    def tree_features(self) -> tuple[str, ...]:
        """The features that the trees read, in the order of the matrix."""
        return self.parts.artifact.forest.feature_names

    def split_points(self) -> tuple[Array, ...]:
        """Per tree feature, its distinct float32 thresholds, ascending."""
        return self.parts.artifact.forest.split_points()

    def leaves(self, features: Array) -> Array:
        """[row, tree], int32, leaf ordinals of a float32 [row, feature] matrix.

        Raises:
            StackError: The matrix has another shape or dtype.
        """
        wanted = len(self.tree_features())
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != wanted:
            raise StackError(
                f"the matrix is {features.dtype}{list(features.shape)}, not float32[row, {wanted}].",
                where=f"stack {self.name!r}, leaves",
                fix="give one column for each of tree_features()",
            )
        with torch.inference_mode():
            leaves: Array = self.parts.model.walk(_tensor(features)).numpy()
        return leaves

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """The trees as its tensors hold them."""
        return self.parts.model.walk.structure()

    def weights(self) -> Mapping[str, Array]:
        """The regression's weights, named as in regression.npz."""
        model = self.parts.model
        return {
            "leaf_weights": model.leaf_bag.weight.detach().numpy().reshape(-1),
            "category_weights": model.category_bag.weight.detach().numpy().reshape(-1),
            "bias": model.bias.numpy(),
            "slope": model.slope.numpy(),
            "intercept": model.intercept.numpy(),
        }

    def configuration(self) -> Mapping[str, str]:
        """What is set rather than learned, feature by feature."""
        features = {f"features.{f.name}": repr(f) for f in self.parts.features.features}
        return features | {"num_trees": str(self.parts.model.num_trees)}


class _Run:
    """One batch: each checkpoint is computed at most once, from what is given where it is."""

    def __init__(
        self, parts: Parts, batch: RequestBatch, given: Mapping[str, Array], *, stack: str
    ) -> None:
        self.artifact: LegacyArtifact = parts.artifact
        self.features: FeatureSet = parts.features
        self.model = parts.model
        self.impressions, self.ranking = parts.impressions, parts.ranking
        self.batch = batch
        self.given = given
        self.where = f"stack {stack!r}"
        self.columns = Columns(batch)
        self._produced: dict[str, Array] = {}

    def produced(self, name: str) -> Array:
        """What the stack computes at a checkpoint."""
        if name not in self._produced:
            self._produced[name] = self._compute(name)
        return self._produced[name]

    def used(self, name: str) -> Array:
        """What the stack carries on with: what was given, else what it computed."""
        return self.given[name] if name in self.given else self.produced(name)

    def _compute(self, name: str) -> Array:
        stage, _, feature = name.partition(".")
        if stage == "features":
            return self.features[feature].compute(self.columns)
        if stage == "encoded":
            return self._encoded(feature)
        steps = {
            "gbdt.leaves": self._leaves,
            "regression.leaf_sum": self._leaf_sum,
            "regression.category_sum": self._category_sum,
            "logit": self._logit,
            "pctr": self._pctr,
            "ecpm_micros": self._ecpm_micros,
            "rank": self._rank,
        }
        if name not in steps:
            raise StackError(
                f"no checkpoint is called {name!r}.", where=self.where, fix="use a declared name"
            )
        return steps[name]()

    def _encoded(self, name: str) -> Array:
        feature = next(f for f in self.features.discrete if f.name == name)
        codes = feature.codes(self.used(f"features.{name}"))
        return (codes + self.features.first_columns[name]).astype(np.int32)

    def _leaves(self) -> Array:
        names = [f"features.{feature.name}" for feature in self.features.real]
        leaves: Array = self.model.walk(_tensor(self._matrix(names, np.float32))).numpy()
        return leaves

    def _leaf_sum(self) -> Array:
        leaves = self.used("gbdt.leaves")
        sizes = np.diff(self.artifact.forest.leaf_offsets)
        self._within("gbdt.leaves", leaves, sizes)
        summed: Array = self.model.leaf_sum(_tensor(leaves)).numpy()
        return summed

    def category_columns(self) -> Array:
        """[candidate, discrete feature]: places in the category block."""
        names = [f"encoded.{feature.name}" for feature in self.features.discrete]
        columns = self._matrix(names, np.int32)
        self._within("encoded.*", columns, np.asarray(self.features.num_columns))
        return columns

    def _category_sum(self) -> Array:
        columns = self.category_columns()
        summed: Array = self.model.category_sum(_tensor(columns)).numpy()
        return summed

    def _logit(self) -> Array:
        sums = [self.used(f"regression.{block}_sum") for block in ("leaf", "category")]
        logit: Array = self.model.logit(_tensor(sums[0]), _tensor(sums[1])).numpy()
        return logit

    def _pctr(self) -> Array:
        pctr: Array = self.model.pctr(_tensor(self.used("logit"))).numpy()
        return pctr

    def _ecpm_micros(self) -> Array:
        assert self.features.money is not None, "declared only where there is money"
        bids = integers(self.batch.column(self.features.money))
        ecpm: Array = self.impressions * self.used("pctr").astype(np.float64) * bids
        return ecpm

    def _rank(self) -> Array:
        ranked_by = "pctr" if self.features.money is None else "ecpm_micros"
        return self.ranking(self.used(ranked_by), self.batch.keys)

    def _matrix(self, names: list[str], dtype: type[np.float32 | np.int32]) -> Array:
        """[candidate, checkpoint]; a request's value stands for each of its candidates."""
        matrix = np.empty((self.batch.num_candidates, len(names)), dtype)
        for place, name in enumerate(names):
            values = self.used(name)
            axis = self.features.axis(name.partition(".")[2])
            matrix[:, place] = values if axis == "candidate" else values[self.columns.request_of()]
        return matrix

    def _within(self, name: str, places: Array, sizes: Array) -> None:
        outside = (places < 0) | (places >= sizes)
        if outside.any():
            raise StackError(
                f"{name} holds {places[outside][0]}, for which there is no weight.",
                where=f"{self.where}, given or computed",
                fix="give leaves within their trees and columns within the category block",
            )


def _tensor(values: Array) -> torch.Tensor:
    """The values as a tensor; what was given may be read-only, and is never written to."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())
