"""The legacy model as one PyTorch module: trees, leaves and categories through embedding bags.

Shape suffixes: C = candidates, F = real features, T = trees, D = discrete features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.port.legacy_artifact import LegacyArtifact
from modern.port.trees import TreeWalk


class PortOutputs(NamedTuple):
    """What the model computes on the way, in causal order.

    `leaves` is [candidate, tree], int32; all others are [candidate], float32.
    """

    leaves: Tensor
    leaf_sum: Tensor
    category_sum: Tensor
    logit: Tensor
    pctr: Tensor


class LegacyPort(nn.Module):
    """Trees, regression and calibration of one legacy training.

    A regression over one-hot leaves is a sum of one weight a tree: an embedding bag of width
    one whose rows are the leaves of all trees. The categories are a second bag.

    Attributes:
        num_trees: The first trees, whose leaves are summed: all of them.
    """

    first_leaf: Tensor
    bias: Tensor
    slope: Tensor
    intercept: Tensor

    def __init__(self, artifact: LegacyArtifact) -> None:
        """Take over the trees and weights of a training."""
        super().__init__()
        regression = artifact.regression
        self.walk = TreeWalk(artifact.forest)
        self.num_trees = artifact.forest.num_trees
        self.leaf_bag = _bag_of(torch.from_numpy(regression.leaf_weights.copy()))
        self.category_bag = _bag_of(torch.from_numpy(regression.category_weights.copy()))
        self.register_buffer("first_leaf", torch.from_numpy(regression.leaf_offsets[:-1].copy()))
        self.register_buffer("bias", torch.tensor(regression.bias, dtype=torch.float32))
        self.register_buffer("slope", torch.tensor(artifact.slope, dtype=torch.float64))
        self.register_buffer("intercept", torch.tensor(artifact.intercept, dtype=torch.float64))
        self.eval()

    def forward(self, features_CF: Tensor, columns_CD: Tensor) -> PortOutputs:
        """Everything from features to the calibrated probability.

        Args:
            features_CF: float32, the real features in order, NaN where missing.
            columns_CD: int32, the column of each discrete feature in the category block.
        """
        leaves_CT = self.walk(features_CF)
        leaf_sum_C = self.leaf_sum(leaves_CT)
        category_sum_C = self.category_sum(columns_CD)
        logit_C = self.logit(leaf_sum_C, category_sum_C)
        return PortOutputs(leaves_CT, leaf_sum_C, category_sum_C, logit_C, self.pctr(logit_C))

    def leaf_sum(self, leaves_CT: Tensor) -> Tensor:
        """[candidate], float32, the weights of the leaves that were reached."""
        used = slice(self.num_trees)
        return _summed(self.leaf_bag, leaves_CT[:, used] + self.first_leaf[used])

    def category_sum(self, columns_CD: Tensor) -> Tensor:
        """[candidate], float32, the weights of the categories that hold."""
        return _summed(self.category_bag, columns_CD.long())

    def logit(self, leaf_sum_C: Tensor, category_sum_C: Tensor) -> Tensor:
        """[candidate], float32, log-odds of a click before calibration."""
        return self.bias + leaf_sum_C + category_sum_C

    def pctr(self, logit_C: Tensor) -> Tensor:
        """[candidate], float32, the calibrated probability, computed in float64."""
        calibrated_C = self.slope * logit_C.double() + self.intercept
        return (1 / (1 + torch.exp(-calibrated_C))).float()


def _bag_of(weights: Tensor) -> nn.EmbeddingBag:
    return nn.EmbeddingBag.from_pretrained(weights.unsqueeze(1), freeze=True, mode="sum")


def _summed(bag: nn.EmbeddingBag, rows_CK: Tensor) -> Tensor:
    if not rows_CK.shape[1]:
        return torch.zeros(len(rows_CK), dtype=torch.float32)
    summed: Tensor = bag(rows_CK)
    return summed.squeeze(1)
