"""What a stack may also be able to do; the judge asks, and says so where it can not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import EMPTY, Array, Trace

Where = Literal["value", "code", "configuration", "artifact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A real fault a stack can put into itself.

    Attributes:
        kind: Its name on the command line, such as "bucket_edge_side".
        checkpoint: Where it has to be found.
        where: What is changed: the stack's code, its configuration or its artifact.
        says: One sentence for `--plant list`.
    """

    kind: str
    checkpoint: str
    where: Where
    says: str


@runtime_checkable
class Plants(Protocol):
    """Puts real faults into a copy of itself."""

    def faults(self) -> tuple[Fault, ...]: ...

    def planted(self, fault: Fault) -> Stack: ...


@runtime_checkable
class Recomputes(Protocol):
    """Computes in float64 what it otherwise computes in a narrower type.

    It shows how far its own rounding goes, and lets it judge a side that can only be captured:
    its step on the other side's inputs.
    """

    def recompute(
        self, batch: RequestBatch, capture: Collection[str], given: Mapping[str, Array]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Each captured real checkpoint, from what is given, and in float64 from there on."""
        ...


@runtime_checkable
class Differentiates(Protocol):
    """Gives the gradient of the logit with respect to what it computes on the way."""

    def gradients(
        self, batch: RequestBatch, capture: Collection[str], weights: Array
    ) -> Mapping[str, Array]:
        """The derivative of sum(weights * logit) by each captured checkpoint that it depends on.

        Args:
            batch: The requests.
            capture: Checkpoints to differentiate with respect to.
            weights: float64 [candidate].
        """
        ...


@runtime_checkable
class DescribesWeights(Protocol):
    """Lists configuration and parameters by module, for comparison with another stack's."""

    def weights(self) -> Mapping[str, Array]: ...

    def configuration(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeStructure:
    """One tree as its stack declares it, by node; node 0 is the root.

    Attributes:
        feature: int32 [node], column of the matrix that a split reads; -1 at a leaf.
        threshold: float32 [node]; x < threshold goes left. Of no meaning at a leaf.
        left, right: int32 [node], children; -1 at a leaf.
        default_left: bool [node], whether a missing value goes left.
        leaf: int32 [node], ordinal of a leaf within its tree; -1 elsewhere.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    default_left: Array
    leaf: Array


@runtime_checkable
class ExposesTrees(Protocol):
    """Shows its trees, so that every threshold can be visited.

    `tree_features` names the columns of the matrix that the trees read, as checkpoints or
    without their `features.`; `split_points` gives, per column in order, the sorted float32
    thresholds; `leaves` gives [row, tree] leaf ordinals of a float32 [row, feature] matrix
    with the code that `score` runs; `tree_structure` gives the trees in the order of its
    columns, read from what that code evaluates.
    """

    def tree_features(self) -> tuple[str, ...]: ...

    def split_points(self) -> tuple[Array, ...]: ...

    def leaves(self, features: Array) -> Array: ...

    def tree_structure(self) -> tuple[TreeStructure, ...]: ...


@runtime_checkable
class Varies(Protocol):
    """Runs again under a change that must not matter: threads, rows at a time, padding.

    What any stack can be asked for (another order, fewer requests at a time) needs no capability.
    """

    def variations(self) -> tuple[str, ...]:
        """What can be changed, in words: "2 threads"."""
        ...

    def vary(
        self,
        variation: str,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """As `Stack.score`, with that one thing changed."""
        ...
