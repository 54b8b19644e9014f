"""The legacy model as a stack: from nested records to ranks, recorded wherever it is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

import legacy
from legacy.artifact import open_artifact
from legacy.calibration import pctr_from_logits
from legacy.checkpoints import checkpoints_of
from legacy.faults import Parts, faults_of, with_fault
from legacy.features import Extractor
from legacy.leaf_columns import CategoryColumns, columns_from_leaves
from legacy.ranking import ranks
from legacy.records import check_type
from legacy.trees import structure_of
from legacy.versions import installed_versions
from replay.capabilities import Fault, TreeStructure
from replay.checkpoint import CheckpointGraph
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import EMPTY, Array, Trace, check_given, make_trace


def open_stack(artifact: Path, *, name: str = "legacy") -> LegacyStack:
    """Check the artifact, then load it into XGBoost and TensorFlow.

    Raises:
        ArtifactError: A file is missing, changed, of an unknown version or another training.
    """
    opened = open_artifact(Path(artifact))
    identity = StackIdentity(
        name=name,
        digest=digest_of_path(opened.path),
        training_id=opened.training_id,
        code=digest_of_code(legacy),
        versions=installed_versions(),
        threads=recorded_threads(),
    )
    return LegacyStack(Parts(model=opened.model, trees=opened.trees), identity)


class LegacyStack:
    """XGBoost leaves into a TensorFlow logistic regression, on one thread.

    Offers `Plants` and `ExposesTrees` (replay.capabilities).
    """

    def __init__(self, parts: Parts, identity: StackIdentity) -> None:
        # Heavy frameworks load after the artifact was checked.
        from legacy.gbdt import LeafFinder
        from legacy.regression import Regression, fix_tensorflow_threads

        fix_tensorflow_threads()
        self._parts = parts
        self._identity = identity
        model = parts.model
        self._features = model.features
        self._checkpoints = checkpoints_of(model, parts.trees, stack=identity.name)
        self._extractor = Extractor(model.features.features, strict_edges=parts.strict_edges)
        self._categories = CategoryColumns(model.features)
        self._finder = LeafFinder(model.booster, parts.trees)
        self._regression = Regression(model.regression, tree_limit=parts.tree_limit)

    @property
    def name(self) -> str:
        """The stack's name."""
        return self._identity.name

    @property
    def checkpoints(self) -> CheckpointGraph:
        """As docs/features.md lists them."""
        return self._checkpoints

    def identity(self) -> StackIdentity:
        """What ran; a planted stack has a digest of its own."""
        return self._identity

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Compute what the captured checkpoints need, and record them.

        Raises:
            StackError: An unknown checkpoint, or `given` that does not fit.
            LogError: The log lacks a field.
        """
        check_given(given, self._checkpoints, batch.keys, stack=self.name)
        run = _Run(batch, given, self._needed(capture, given), self._checkpoints)
        self._extract(run)
        for name in run.needed:
            if name.startswith("encoded."):
                feature = name.removeprefix("encoded.")
                run.produced[name] = self._categories.encode(
                    feature, run.used(f"features.{feature}")
                )
        if "gbdt.leaves" in run.needed:
            run.produced["gbdt.leaves"] = self._finder.leaves(self._matrix(run))
        self._regress(run)
        self._rank(run)
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=run.produced,
            checkpoints=self._checkpoints,
            capture=capture,
        )

    def faults(self) -> tuple[Fault, ...]:
        """The real faults that can be put into this stack."""
        return faults_of(self._parts)

    def planted(self, fault: Fault) -> LegacyStack:
        """A new stack with the fault really in its code, configuration or artifact.

        Raises:
            ConfigError: There is no such fault here.
        """
        parts = with_fault(self._parts, fault)
        own = self._identity
        digest = digest_of_json([own.digest, parts.planted[-1]])
        return LegacyStack(parts, replace(own, digest=digest))

    def tree_features(self) -> tuple[str, ...]:
        """The checkpoints' names of what the trees read, in their order."""
        return tuple(f"features.{feature.name}" for feature in self._features.real)

    def split_points(self) -> tuple[Array, ...]:
        """Per tree feature, its thresholds, ascending, each once."""
        return self._parts.trees.split_points()

    def leaves(self, features: Array) -> Array:
        """[row, tree] leaf ordinals of a float32 [row, feature] matrix."""
        return self._finder.leaves(features)

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """The trees of the booster's JSON, which XGBoost itself was loaded from."""
        return tuple(structure_of(tree) for tree in self._parts.trees.trees)

    def _needed(self, capture: Collection[str], given: Mapping[str, Array]) -> list[str]:
        """The captured checkpoints and all they are computed from, unless that is given."""
        found: set[str] = set()
        front = list(capture)
        while front:
            name = front.pop()
            if name not in found:
                found.add(name)
                front.extend(p for p in self._checkpoints[name].after if p not in given)
        return self._checkpoints.sorted(found)

    def _extract(self, run: _Run) -> None:
        names = [n.removeprefix("features.") for n in run.needed if n.startswith("features.")]
        if names:
            for name, values in self._extractor.extract(run.batch, names).items():
                run.produced[f"features.{name}"] = values

    def _matrix(self, run: _Run) -> Array:
        """float32 [candidate, real feature]."""
        columns = [run.by_candidate(name) for name in self.tree_features()]
        return np.stack(columns, axis=1)

    def _regress(self, run: _Run) -> None:
        if "regression.leaf_sum" in run.needed:
            columns = columns_from_leaves(
                run.used("gbdt.leaves"), self._parts.model.regression.leaf_offsets
            )
            run.produced["regression.leaf_sum"] = self._regression.leaf_sum(columns)
        if "regression.category_sum" in run.needed:
            encoded = [run.by_candidate(f"encoded.{f.name}") for f in self._features.discrete]
            run.produced["regression.category_sum"] = self._regression.category_sum(
                self._categories.stacked(encoded)
            )
        if "logit" in run.needed:
            run.produced["logit"] = self._regression.logit(
                run.used("regression.leaf_sum"), run.used("regression.category_sum")
            )

    def _rank(self, run: _Run) -> None:
        if "pctr" in run.needed:
            run.produced["pctr"] = pctr_from_logits(
                run.used("logit"), self._parts.model.calibration
            )
        money = self._features.money
        if money is not None and "ecpm_micros" in run.needed:
            check_type(run.batch, money, ("int64",), "ecpm_micros")
            bids = run.batch.column(money).to_numpy(zero_copy_only=False).astype(np.float64)
            run.produced["ecpm_micros"] = 1000.0 * run.used("pctr").astype(np.float64) * bids
        if "rank" in run.needed:
            ranked_by = run.used("pctr" if money is None else "ecpm_micros")
            run.produced["rank"] = ranks(ranked_by, run.batch.keys)


class _Run:
    """One batch on its way: what was produced, and what is used in its place."""

    def __init__(
        self,
        batch: RequestBatch,
        given: Mapping[str, Array],
        needed: list[str],
        graph: CheckpointGraph,
    ) -> None:
        self.batch = batch
        self.needed = dict.fromkeys(needed)
        self.produced: dict[str, Array] = {}
        self._given = given
        self._graph = graph
        self._request_of = batch.keys.request_of("candidate")

    def used(self, name: str) -> Array:
        return self._given[name] if name in self._given else self.produced[name]

    def by_candidate(self, name: str) -> Array:
        """Values along candidates: a request's are repeated for each of its own."""
        values = self.used(name)
        return values[self._request_of] if self._graph[name].rows == "request" else values
