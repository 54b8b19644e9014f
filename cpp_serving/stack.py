"""The C++ scorer as a stack: it maps one file, and shows every checkpoint on the way to a rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

import cpp_serving
from cpp_serving._core import Scorer
from cpp_serving.checkpoints import DISCRETE_KINDS, scorer_checkpoints
from cpp_serving.planting import Planting, put_fault, scorer_faults
from cpp_serving.scorer_file import ScorerFile
from replay.adapters.tree_matrix import checked_matrix
from replay.capabilities import Fault, TreeStructure
from replay.checkpoint import CheckpointGraph
from replay.digests import digest_of_code, digest_of_file, digest_of_json
from replay.errors import ArtifactError, ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

# What one fused pass gives; anything else is traced, with the same bits.
OUTPUTS = frozenset({"pctr", "ecpm_micros", "rank"})


def open_stack(artifact: Path | None = None, *, name: str = "cpp", **options: object) -> CppStack:
    """Map a scorer's file and check it as a whole.

    Args:
        artifact: The file (docs/formats.md), such as artifacts/scorer.bin.
        name: What reports call the stack.
        options: There are none.

    Raises:
        ArtifactError: The file is absent, cut short, changed, or of another version.
        ConfigError: No file is named, or an option is.
    """
    if artifact is None or options:
        found = f"unknown options {sorted(options)}" if options else "no artifact"
        raise ConfigError(
            f"the C++ scorer was opened with {found}.",
            where=f"stack {name!r}",
            fix="name a scorer.bin as its artifact, and no further options",
        )
    path = Path(artifact)
    scorer = Scorer(path)
    return CppStack(
        name=name,
        path=path,
        scorer=scorer,
        checkpoints=scorer_checkpoints(scorer, stack=name),
        file_digest=digest_of_file(path),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CppStack:
    """The exported legacy model, from Arrow columns to a rank.

    Attributes:
        name: What reports call it.
        path: The scorer's file.
        scorer: The compiled scorer.
        checkpoints: As docs/features.md declares them; a planted fault changes no declaration.
        file_digest: Of the file as it was opened.
        planting: What a planted stack was opened from; None in a sound one.
        plants: The faults put into it, as "kind:checkpoint".
    """

    name: str
    path: Path
    scorer: Scorer = field(repr=False)
    checkpoints: CheckpointGraph = field(repr=False)
    file_digest: str
    planting: Planting | None = field(default=None, repr=False)
    plants: tuple[str, ...] = ()

    def identity(self) -> StackIdentity:
        """What would be needed to run it again; a planted stack is another one."""
        digest = self.file_digest
        if self.plants:
            digest = digest_of_json({"artifact": digest, "planted": list(self.plants)})
        return StackIdentity(
            name=self.name,
            digest=digest,
            training_id=self.scorer.training_id,
            code=digest_of_code(cpp_serving),
            versions={package: version(package) for package in ("numpy", "pyarrow")},
            threads=recorded_threads(),
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
        names = [checkpoints[name].name for name in dict.fromkeys(capture)]
        check_given(given, checkpoints, batch.keys, stack=self.name)
        values: Mapping[str, Array]
        if OUTPUTS.issuperset(names) and not given:
            values = self.scorer.score(batch.records) if names else {}
        else:
            used = {name: np.ascontiguousarray(array) for name, array in given.items()}
            values = self.scorer.trace(batch.records, names, used)
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=values,
            checkpoints=checkpoints,
            capture=capture,
        )

    def faults(self) -> tuple[Fault, ...]:
        """Every fault it can really be given."""
        return scorer_faults(self.scorer)

    def planted(self, fault: Fault) -> CppStack:
        """A new stack with the fault in it; this one, and its file, stay as they are.

        Raises:
            ConfigError: It has no such fault.
            ArtifactError: The file was replaced since it was opened.
        """
        known = {(f.kind, f.checkpoint) for f in self.faults()}
        if (fault.kind, fault.checkpoint) not in known:
            offered = ", ".join(f"{kind}:{checkpoint}" for kind, checkpoint in sorted(known))
            raise ConfigError(
                f"{fault.kind}:{fault.checkpoint} can not be planted (known: {offered}).",
                where=f"stack {self.name!r}",
                fix="plant one of the known faults",
            )
        planting = put_fault(self.planting or Planting(data=self._bytes()), self.scorer, fault)
        plants = (*self.plants, f"{fault.kind}:{fault.checkpoint}")
        return CppStack(
            name=self.name,
            path=self.path,
            scorer=planting.open(f"{self.path}, planted with {', '.join(plants)}"),
            checkpoints=self.checkpoints,
            file_digest=self.file_digest,
            planting=planting,
            plants=plants,
        )

    def tree_features(self) -> tuple[str, ...]:
        """The features that the trees read, in the order of the matrix."""
        features = self.scorer.features()
        return tuple(name for name, kind, _, _ in features if kind not in DISCRETE_KINDS)

    def split_points(self) -> tuple[Array, ...]:
        """Per tree feature, its distinct float32 thresholds, ascending."""
        return tuple(self.scorer.split_points())

    def leaves(self, features: Array) -> Array:
        """[row, tree], int32, leaf ordinals of a float32 [row, feature] matrix.

        Raises:
            StackError: The matrix has another shape or dtype.
        """
        return self.scorer.leaves(
            checked_matrix(features, len(self.tree_features()), stack=self.name)
        )

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """The trees of the mapped file, which the scorer walks in place.

        Raises:
            ArtifactError: The file was replaced since it was opened.
        """
        data = self._bytes() if self.planting is None else self.planting.data
        return ScorerFile(data).trees()

    def weights(self) -> Mapping[str, Array]:
        """The regression's weights, named as in regression.npz."""
        return {
            "leaf_weights": self.scorer.leaf_weights,
            "category_weights": self.scorer.category_weights,
            "bias": np.array(self.scorer.bias, dtype=np.float32),
            "slope": np.array(self.scorer.slope, dtype=np.float64),
            "intercept": np.array(self.scorer.intercept, dtype=np.float64),
        }

    def configuration(self) -> Mapping[str, str]:
        """What is set rather than learned, feature by feature."""
        features = {f"features.{name}": kind for name, kind, _, _ in self.scorer.features()}
        return features | {"num_trees": str(len(self.scorer.leaf_offsets) - 1)}

    def _bytes(self) -> bytes:
        if digest_of_file(self.path) != self.file_digest:
            raise ArtifactError(
                "the file was replaced since it was opened.",
                where=str(self.path),
                fix="open the stack again",
            )
        return self.path.read_bytes()
