"""Real faults for drills: each changes the scorer's code, its configuration or its artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from cpp_serving._core import Faults, Scorer
from cpp_serving.scorer_file import ScorerFile
from replay.capabilities import Fault, Where

TOKYO_MINUTES = 540
# Weights are made this much larger: far beyond rounding, far below what a metric would notice.
SCALE = np.float32(1.01)
_NODE_LEAF = 0xFFFFFFFF
_MISSING_GOES_LEFT = 0x80000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planting:
    """A scorer's file and code faults, as a planted scorer is opened from them.

    Attributes:
        data: The file's bytes, checksums renewed.
        bucket_edge_side: The bucket features that count edges e < x.
        threshold_le: Whether x <= threshold goes left.
        tree_limit: Trees that count in the sum; 0: all.
    """

    data: bytes
    bucket_edge_side: tuple[str, ...] = ()
    threshold_le: bool = False
    tree_limit: int = 0

    def open(self, where: str) -> Scorer:
        """The scorer with these faults in it."""
        faults = Faults(
            bucket_edge_side=self.bucket_edge_side,
            threshold_le=self.threshold_le,
            tree_limit=self.tree_limit,
        )
        return Scorer.from_bytes(self.data, where, faults=faults)


Change = Callable[[Planting, Scorer, str], Planting]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A fault of features of some kinds, or of one checkpoint of the model."""

    kind: str
    of: tuple[str, ...] = ()
    stage: str = "features"
    checkpoint: str = ""
    where: Where
    says: str
    change: Change


def scorer_faults(scorer: Scorer) -> tuple[Fault, ...]:
    """The faults that this scorer has room for."""
    return tuple(_faults(scorer))


def put_fault(planting: Planting, scorer: Scorer, fault: Fault) -> Planting:
    """The planting with one more fault of `scorer_faults`."""
    stage, _, feature = fault.checkpoint.partition(".")
    for known in _KNOWN:
        if known.kind == fault.kind and (
            known.checkpoint == fault.checkpoint or (not known.checkpoint and known.stage == stage)
        ):
            return known.change(planting, scorer, feature)
    raise AssertionError(f"{fault.kind}:{fault.checkpoint} is no fault of scorer_faults")


def _faults(scorer: Scorer) -> Iterator[Fault]:
    for known in _KNOWN:
        if known.checkpoint:
            names = [known.checkpoint] if _has_room(scorer, known) else []
        else:
            names = [
                f"{known.stage}.{name}"
                for name, kind, _, cardinality in scorer.features()
                if kind in known.of and cardinality != 1  # an empty vocabulary has nothing to move
            ]
        for name in names:
            yield Fault(kind=known.kind, checkpoint=name, where=known.where, says=known.says)


def _has_room(scorer: Scorer, known: _Known) -> bool:
    if known.checkpoint == "regression.category_sum":
        return len(scorer.category_weights) > 0
    if known.kind == "tree_limit":
        return len(scorer.leaf_offsets) > 2
    return known.kind != "bias_dropped" or scorer.bias != 0


def _edge_side(planting: Planting, _: Scorer, feature: str) -> Planting:
    return replace(planting, bucket_edge_side=(*planting.bucket_edge_side, feature))


def _threshold_le(planting: Planting, _: Scorer, __: str) -> Planting:
    return replace(planting, threshold_le=True)


def _tree_limit(planting: Planting, scorer: Scorer, _: str) -> Planting:
    trees = planting.tree_limit or len(scorer.leaf_offsets) - 1
    return replace(planting, tree_limit=max(1, trees - 1))


def _parameter(name: str, change: Callable[[float], float]) -> Change:
    def changed(planting: Planting, scorer: Scorer, feature: str) -> Planting:
        file = ScorerFile(planting.data)
        file.change_parameter(_place(scorer, feature), name, change)
        return replace(planting, data=file.sealed())

    return changed


def _edit(edit: Callable[[ScorerFile], None]) -> Change:
    def changed(planting: Planting, _: Scorer, __: str) -> Planting:
        file = ScorerFile(planting.data)
        edit(file)
        return replace(planting, data=file.sealed())

    return changed


def _vocabulary_shift(planting: Planting, scorer: Scorer, feature: str) -> Planting:
    file = ScorerFile(planting.data)
    ids = file.vocabulary_of(_place(scorer, feature))
    if ids[-1] < np.iinfo(np.int64).max:
        ids[:-1] = ids[1:].copy()
        ids[-1] += 1  # some id that was not in it: the last one has moved down
    else:
        known = set(ids.tolist())
        absent = next(i for i in range(len(known) + 1) if i not in known)
        ids[:] = sorted([*ids[:-1].tolist(), absent])
    return replace(planting, data=file.sealed())


def _nan_direction(file: ScorerFile) -> None:
    features = file.node_features()
    features[features != _NODE_LEAF] ^= np.uint32(_MISSING_GOES_LEFT)


def _scale(section: str) -> Callable[[ScorerFile], None]:
    def edit(file: ScorerFile) -> None:
        weights = file.values(section, "<f4")
        weights *= SCALE

    return edit


def _bias_dropped(file: ScorerFile) -> None:
    file.values("calibration", "<f4")[0] = 0.0


def _slope_scale(file: ScorerFile) -> None:
    file.values("calibration", "<f8")[1] *= float(SCALE)


def _place(scorer: Scorer, feature: str) -> int:
    return [name for name, _, _, _ in scorer.features()].index(feature)


_KNOWN: tuple[_Known, ...] = (
    _Known(
        kind="bucket_edge_side",
        of=("bucket",),
        where="code",
        says="a value equal to a bucket's edge falls below it",
        change=_edge_side,
    ),
    _Known(
        kind="hash_seed",
        of=("hash",),
        where="configuration",
        says="the hash is seeded with one more",
        change=_parameter("seed", lambda seed: (seed + 1) % 2**32),
    ),
    _Known(
        kind="utc_offset",
        of=("hour", "weekday"),
        where="configuration",
        says="UTC is taken for local time (or Tokyo's clock for UTC)",
        change=_parameter("utc_offset_minutes", lambda offset: 0 if offset else TOKYO_MINUTES),
    ),
    _Known(
        kind="rate_prior",
        of=("rate",),
        where="configuration",
        says="the smoothed rate's prior is 1 % too large (or 0.01 where it was 0)",
        change=_parameter("prior", lambda prior: prior * 1.01 if prior else 0.01),
    ),
    _Known(
        kind="vocabulary_shift",
        of=("id",),
        stage="encoded",
        where="artifact",
        says="the vocabulary's ids have moved by one place",
        change=_vocabulary_shift,
    ),
    _Known(
        kind="threshold_le",
        checkpoint="gbdt.leaves",
        where="code",
        says="a value equal to a threshold goes left (<= for <)",
        change=_threshold_le,
    ),
    _Known(
        kind="nan_direction",
        checkpoint="gbdt.leaves",
        where="artifact",
        says="a missing value goes against each node's default direction",
        change=_edit(_nan_direction),
    ),
    _Known(
        kind="tree_limit",
        checkpoint="regression.leaf_sum",
        where="configuration",
        says="the last tree is left out of the sum",
        change=_tree_limit,
    ),
    _Known(
        kind="weight_scale",
        checkpoint="regression.leaf_sum",
        where="artifact",
        says="the leaves' weights are 1 % too large",
        change=_edit(_scale("leaf_weights")),
    ),
    _Known(
        kind="weight_scale",
        checkpoint="regression.category_sum",
        where="artifact",
        says="the categories' weights are 1 % too large",
        change=_edit(_scale("category_weights")),
    ),
    _Known(
        kind="bias_dropped",
        checkpoint="logit",
        where="artifact",
        says="the bias is left out",
        change=_edit(_bias_dropped),
    ),
    _Known(
        kind="slope_scale",
        checkpoint="pctr",
        where="artifact",
        says="the calibration's slope is 1 % too large",
        change=_edit(_slope_scale),
    ),
)
