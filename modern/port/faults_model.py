"""Faults of the port's trees, sums, calibration and ranking."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modern.port.faults_kinds import PartsFault
from modern.port.model import LegacyPort
from modern.port.parts import Parts
from modern.port.trees import Forest
from modern.ranking import ranks, ranks_by
from replay.capabilities import Where
from replay.trace import BatchKeys

ModelChange = Callable[[LegacyPort, Forest], None]


def _equal_goes_left(model: LegacyPort, _: Forest) -> None:
    model.walk.comparison = "<="


def _thresholds_as_spelled(model: LegacyPort, forest: Forest) -> None:
    model.walk.threshold = torch.from_numpy(forest.decimal.copy())


def _thresholds_of_few_digits(model: LegacyPort, forest: Forest) -> None:
    model.walk.threshold = torch.from_numpy(np.round(forest.decimal, 2).astype(np.float32))


def _missing_the_other_way(model: LegacyPort, _: Forest) -> None:
    both = 2 * model.walk.num_features
    model.walk.column = (model.walk.column + model.walk.num_features) % both


def _missing_left(model: LegacyPort, _: Forest) -> None:
    model.walk.column = model.walk.column % model.walk.num_features


def _missing_right(model: LegacyPort, _: Forest) -> None:
    model.walk.column = model.walk.column % model.walk.num_features + model.walk.num_features


def _columns_exchanged(model: LegacyPort, forest: Forest) -> None:
    """The two features that most nodes read."""
    inner = forest.feature[forest.ordinal < 0]
    first, second = np.argsort(-np.bincount(inner, minlength=model.walk.num_features))[:2]
    place = torch.arange(2 * model.walk.num_features)
    for side in (0, model.walk.num_features):
        place[side + int(first)], place[side + int(second)] = side + int(second), side + int(first)
    model.walk.column = place[model.walk.column]


def _leaves_from_the_right(model: LegacyPort, forest: Forest) -> None:
    """Leaves are numbered from the other end of each tree."""
    sizes = np.diff(forest.leaf_offsets)
    tree = np.searchsorted(forest.roots, np.arange(len(forest.ordinal)), side="right") - 1
    mirrored = np.where(forest.ordinal < 0, -1, sizes[tree] - 1 - forest.ordinal)
    model.walk.ordinal = torch.from_numpy(mirrored.astype(np.int32))


def _trees_reversed(model: LegacyPort, _: Forest) -> None:
    model.walk.root = model.walk.root.flip(0)


def _children_exchanged(model: LegacyPort, _: Forest) -> None:
    """Of the first tree's root."""
    child, root = model.walk.child.clone(), int(model.walk.root[0])
    child[2 * root], child[2 * root + 1] = child[2 * root + 1].clone(), child[2 * root].clone()
    model.walk.child = child


def _one_tree_less(model: LegacyPort, _: Forest) -> None:
    model.num_trees -= 1


def _half_of_the_trees(model: LegacyPort, _: Forest) -> None:
    model.num_trees //= 2


def _scaled_leaves(factor: float) -> ModelChange:
    def change(model: LegacyPort, _: Forest) -> None:
        model.leaf_bag.weight.mul_(factor)

    return change


def _one_tree_scaled(model: LegacyPort, forest: Forest) -> None:
    """The tree of the heaviest leaves."""
    weight = model.leaf_bag.weight
    absolute = np.abs(weight.numpy().reshape(-1)).astype(np.float64)
    heaviest = int(np.add.reduceat(absolute, forest.leaf_offsets[:-1]).argmax())
    start, end = forest.leaf_offsets[heaviest : heaviest + 2].tolist()
    weight[start:end] *= 1.01


def _leaf_table_late(model: LegacyPort, _: Forest) -> None:
    weight = model.leaf_bag.weight
    weight.copy_(weight.roll(1, 0))


def _half_leaves(model: LegacyPort, _: Forest) -> None:
    weight = model.leaf_bag.weight
    weight.copy_(weight.half().float())


def _larger_category_weights(model: LegacyPort, _: Forest) -> None:
    model.category_bag.weight.mul_(1.01)


def _category_table_late(model: LegacyPort, _: Forest) -> None:
    weight = model.category_bag.weight
    weight.copy_(weight.roll(1, 0))


def _mean_of_categories(model: LegacyPort, _: Forest) -> None:
    model.category_bag.mode = "mean"


def _buffer(name: str, value: Callable[[Tensor], Any]) -> ModelChange:
    def change(model: LegacyPort, _: Forest) -> None:
        old: Tensor = getattr(model, name)
        setattr(model, name, torch.as_tensor(value(old), dtype=old.dtype))

    return change


class WithoutLeaves(LegacyPort):
    """A logit that the trees' sum was left out of."""

    def logit(self, leaf_sum_C: Tensor, category_sum_C: Tensor) -> Tensor:
        return self.bias + 0 * leaf_sum_C + category_sum_C


class WithoutCategories(LegacyPort):
    """A logit that the categories' sum was left out of."""

    def logit(self, leaf_sum_C: Tensor, category_sum_C: Tensor) -> Tensor:
        return self.bias + leaf_sum_C + 0 * category_sum_C


class CalibratedTwice(LegacyPort):
    """Platt's line is applied to what it has been applied to."""

    def pctr(self, logit_C: Tensor) -> Tensor:
        once_C = self.slope * logit_C.double() + self.intercept
        return LegacyPort.pctr(self, once_C)


class SigmoidTwice(LegacyPort):
    """The probability is taken for log-odds once more."""

    def pctr(self, logit_C: Tensor) -> Tensor:
        return torch.sigmoid(LegacyPort.pctr(self, logit_C).double()).float()


class ProbabilityClipped(LegacyPort):
    """Probabilities are kept below that of the bias alone."""

    def pctr(self, logit_C: Tensor) -> Tensor:
        usual = LegacyPort.pctr(self, self.bias)
        return LegacyPort.pctr(self, logit_C).clamp(max=float(usual))


class HalfProbability(LegacyPort):
    """The probability passes through float16."""

    def pctr(self, logit_C: Tensor) -> Tensor:
        return LegacyPort.pctr(self, logit_C).half().float()


def _as(kind: type[LegacyPort]) -> ModelChange:
    def change(model: LegacyPort, _: Forest) -> None:
        model.__class__ = kind

    return change


def _of_model(change: ModelChange) -> Callable[[Parts], Parts]:
    def changed(parts: Parts) -> Parts:
        model = deepcopy(parts.model)
        change(model, parts.artifact.forest)
        return replace(parts, model=model)

    return changed


def _ascending(values: NDArray[np.floating], keys: BatchKeys) -> NDArray[np.int32]:
    return ranks(-values, keys)


def _ties_by_position(values: NDArray[np.floating], keys: BatchKeys) -> NDArray[np.int32]:
    return ranks_by(values, -np.arange(len(values)), keys)


def _from_one(values: NDArray[np.floating], keys: BatchKeys) -> NDArray[np.int32]:
    """Places counted from 1."""
    return ranks(values, keys) + np.int32(1)


def _ranked_by(ranking: Any) -> Callable[[Parts], Parts]:
    return lambda parts: replace(parts, ranking=ranking)


def _model(kind: str, checkpoint: str, where: Where, says: str, change: ModelChange) -> PartsFault:
    return PartsFault(
        kind=kind, checkpoint=checkpoint, where=where, says=says, change=_of_model(change)
    )


_LEAVES, _LEAF_SUM, _CATEGORY_SUM = "gbdt.leaves", "regression.leaf_sum", "regression.category_sum"
MODEL_FAULTS: tuple[PartsFault, ...] = (
    _model("threshold_le", _LEAVES, "code", "a value equal to a threshold goes left (<= for <)",
           _equal_goes_left),
    _model("float64_thresholds", _LEAVES, "code",
           "thresholds are compared as the file's decimals, not rounded to float32",
           _thresholds_as_spelled),
    _model("threshold_digits", _LEAVES, "artifact", "thresholds were written with two decimals",
           _thresholds_of_few_digits),
    _model("nan_direction", _LEAVES, "code",
           "a missing value goes against each node's default direction", _missing_the_other_way),
    _model("nan_left", _LEAVES, "code", "a missing value always goes left", _missing_left),
    _model("nan_right", _LEAVES, "code",
           "a missing value always goes right, as a comparison with NaN does", _missing_right),
    _model("tree_columns_exchanged", _LEAVES, "configuration",
           "two columns of the trees' matrix are exchanged", _columns_exchanged),
    _model("leaf_numbering", _LEAVES, "code", "leaves are numbered from the other end",
           _leaves_from_the_right),
    _model("trees_reversed", _LEAVES, "artifact", "the trees stand in reverse order",
           _trees_reversed),
    _model("children_exchanged", _LEAVES, "artifact",
           "left and right of the first tree's root are exchanged", _children_exchanged),
    _model("tree_limit", _LEAF_SUM, "configuration", "the last tree is left out of the sum",
           _one_tree_less),
    _model("best_iteration", _LEAF_SUM, "configuration", "only half of the trees are summed",
           _half_of_the_trees),
    _model("weight_scale", _LEAF_SUM, "artifact", "the leaves' weights are 1 % too large",
           _scaled_leaves(1.01)),
    _model("learning_rate_twice", _LEAF_SUM, "artifact",
           "a learning rate of 0.1 is applied to weights that hold it", _scaled_leaves(0.1)),
    _model("one_tree_scaled", _LEAF_SUM, "artifact", "one tree's weights are 1 % too large",
           _one_tree_scaled),
    _model("leaf_table_late", _LEAF_SUM, "artifact",
           "the table of the leaves' weights is one row off", _leaf_table_late),
    _model("weights_float16", _LEAF_SUM, "artifact", "the leaves' weights are kept in float16",
           _half_leaves),
    _model("weight_scale", _CATEGORY_SUM, "artifact", "the categories' weights are 1 % too large",
           _larger_category_weights),
    _model("category_table_late", _CATEGORY_SUM, "artifact",
           "the table of the categories' weights is one row off", _category_table_late),
    _model("mean_for_sum", _CATEGORY_SUM, "configuration",
           "the categories' weights are averaged, not added", _mean_of_categories),
    _model("bias_left_out", "logit", "artifact", "the bias is left out",
           _buffer("bias", torch.zeros_like)),
    _model("bias_twice", "logit", "artifact", "the bias is added twice",
           _buffer("bias", lambda bias: 2 * bias)),
    _model("base_score", "logit", "configuration", "a base score of 0.5 is added once more",
           _buffer("bias", lambda bias: bias + 0.5)),
    _model("trees_left_out", "logit", "code", "the trees' sum is left out", _as(WithoutLeaves)),
    _model("categories_left_out", "logit", "code", "the categories' sum is left out",
           _as(WithoutCategories)),
    _model("slope_left_out", "pctr", "configuration", "the calibration's slope is left out",
           _buffer("slope", torch.ones_like)),
    _model("intercept_left_out", "pctr", "configuration",
           "the calibration's intercept is left out", _buffer("intercept", torch.zeros_like)),
    _model("calibrated_twice", "pctr", "code", "the calibration is applied twice",
           _as(CalibratedTwice)),
    _model("double_sigmoid", "pctr", "code", "the sigmoid is taken twice", _as(SigmoidTwice)),
    _model("probability_clipped", "pctr", "code", "probabilities are cut at a largest value",
           _as(ProbabilityClipped)),
    _model("probability_float16", "pctr", "code", "the probability passes through float16",
           _as(HalfProbability)),
    PartsFault(kind="ecpm_per_impression", checkpoint="ecpm_micros", where="code",
               says="the price of one impression, not of a thousand",
               change=lambda parts: replace(parts, impressions=1.0)),
    PartsFault(kind="rank_reversed", checkpoint="rank", where="code",
               says="the worst comes first", change=_ranked_by(_ascending)),
    PartsFault(kind="tie_order", checkpoint="rank", where="code",
               says="ties go by place in the log, the last first",
               change=_ranked_by(_ties_by_position)),
    PartsFault(kind="rank_from_one", checkpoint="rank", where="code",
               says="ranks count from 1", change=_ranked_by(_from_one)),
)  # fmt: skip
