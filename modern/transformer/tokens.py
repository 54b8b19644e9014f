"""Features to tokens: what the transformer reads in place of a row of numbers."""

# B = requests, X = any leading axes (request; request, candidate; request, step), T = steps,
# R = real features, N = discrete features, D = model width, V = codes of all discrete features

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.transformer.layout import SideLayout, TokenLayout

# Ten standard deviations from the mean: what lies further out says no more than "extreme",
# and an infinite value must not turn the candidate's logit into NaN.
FURTHEST = 10.0
# Deviation before training of the embedding of a code that every row has; of one that a share of the
# rows has, times the root of that share. So a category, one of eight, is drawn as large as its
# token's bias; an ad, one of a thousand, says next to nothing until it has learned something.
DRAWN = 2.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealStatistics:
    """How a real feature is brought to zero mean and unit variance.

    Attributes:
        mean: [real feature] float32.
        scale: [real feature] float32, positive.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Those of the real features of each kind of row."""

    request: RealStatistics
    candidate: RealStatistics
    step: RealStatistics


def statistics_of(real_XR: NDArray[np.float32]) -> RealStatistics:
    """Mean and standard deviation of the training rows; missing and infinite values do not count.

    A feature that is constant or always missing there gets scale 1: nothing was learned
    about its spread, and dividing by almost zero would make noise of the first new value.
    """
    wide = real_XR.astype(np.float64)
    present = np.isfinite(wide)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, wide, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(present, (wide - mean) ** 2, 0.0).sum(axis=0) / count)
    # Below this share of its mean a spread is float32 rounding, not information.
    varies = deviation > np.maximum(np.abs(mean), 1.0) * 1e-6
    scale = np.where(varies, deviation, 1.0)
    return RealStatistics(mean=mean.astype(np.float32), scale=scale.astype(np.float32))


def plain_statistics(layout: TokenLayout) -> Statistics:
    """Those that leave values as they are: what a model has before its weights are loaded."""

    def plain(side: SideLayout) -> RealStatistics:
        ones = np.ones(len(side.real), dtype=np.float32)
        return RealStatistics(mean=0 * ones, scale=ones)

    return Statistics(
        request=plain(layout.request), candidate=plain(layout.candidate), step=plain(layout.step)
    )


class CodeTable(nn.Module):
    """The embeddings of all discrete features: one table, a step's ad in the rows of a candidate's.

    They are zero until `draw`, and what training never saw stays so: it reads as its feature's bias.
    """

    def __init__(self, layout: TokenLayout, *, width: int) -> None:
        super().__init__()
        self.embedding_VD = nn.Parameter(torch.zeros(layout.num_codes, width))
        for name in ("request", "candidate", "step"):
            firsts = torch.tensor(getattr(layout, name).first_codes, dtype=torch.int64)
            self.register_buffer(f"first_{name}_code", firsts, persistent=False)

    @torch.no_grad()
    def draw(self, codes: Mapping[str, Tensor]) -> None:
        """Random embeddings for the codes that the training rows hold (see DRAWN).

        A step and a candidate meet in the product of their embeddings. Where both are zero its
        gradient is zero too, and training does not leave that place.

        Args:
            codes: By side, [row, discrete feature].
        """
        share_V = torch.zeros(len(self.embedding_VD))
        for side, code_XN in codes.items():
            first_N: Tensor = getattr(self, f"first_{side}_code")
            counts_V = torch.bincount((code_XN + first_N).flatten(), minlength=len(share_V))
            share_V = torch.maximum(share_V, counts_V / max(len(code_XN), 1))
        drawn_VD = torch.randn_like(self.embedding_VD) * DRAWN
        self.embedding_VD.copy_(drawn_VD * share_V.sqrt().unsqueeze(-1))

    def forward(self, code_XN: Tensor, side: str) -> Tensor:
        """[..., discrete feature, channel] of codes, each within its feature's cardinality."""
        first_N: Tensor = getattr(self, f"first_{side}_code")
        return nn.functional.embedding(code_XN + first_N, self.embedding_VD)


class RealValues(nn.Module):
    """[..., real feature, channel] of real values.

    bias + standardised value x direction (within FURTHEST), or bias + the feature's own learned
    embedding where the value is missing.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, side: SideLayout, *, width: int, statistics: RealStatistics) -> None:
        super().__init__()
        num_real = len(side.real)
        self.register_buffer("mean", torch.from_numpy(statistics.mean.copy()))
        self.register_buffer("scale", torch.from_numpy(statistics.scale.copy()))
        self.direction_RD = nn.Parameter(torch.randn(num_real, width))
        self.bias_RD = nn.Parameter(torch.randn(num_real, width))
        self.missing_RD = nn.Parameter(torch.zeros(num_real, width))

    def forward(self, real_XR: Tensor) -> Tensor:
        """float32 in, NaN where missing."""
        standard_XR = ((real_XR - self.mean) / self.scale).clamp(-FURTHEST, FURTHEST)
        missing_XR1 = standard_XR.isnan().unsqueeze(-1)
        moved_XRD = standard_XR.nan_to_num(nan=0.0).unsqueeze(-1) * self.direction_RD
        return self.bias_RD + torch.where(missing_XR1, self.missing_RD, moved_XRD)


class FeatureTokens(nn.Module):
    """A token for the row as a whole, then one a feature: [..., 1 + feature, channel]."""

    def __init__(self, side: SideLayout, *, width: int, statistics: RealStatistics) -> None:
        super().__init__()
        self.real = RealValues(side, width=width, statistics=statistics)
        self.whole_D = nn.Parameter(torch.randn(width))
        self.bias_ND = nn.Parameter(torch.randn(len(side.discrete), width))

    def forward(self, real_XR: Tensor, embedded_XND: Tensor) -> Tensor:
        """The tokens of each row, from its real values and its embedded codes."""
        whole_X1D = self.whole_D.expand(*real_XR.shape[:-1], 1, -1)
        return torch.cat([whole_X1D, self.real(real_XR), self.bias_ND + embedded_XND], dim=-2)


class AgeBuckets(nn.Module):
    """The bucket of an age: 1 + how many edges it has reached; 0 where it is unknown."""

    edge_hours: Tensor

    def __init__(self, edge_hours: tuple[float, ...]) -> None:
        super().__init__()
        edges = torch.tensor(edge_hours, dtype=torch.float32)
        self.register_buffer("edge_hours", edges, persistent=False)

    @property
    def num_buckets(self) -> int:
        return len(self.edge_hours) + 1

    def forward(self, age_BT: Tensor) -> Tensor:
        """[request, step] int64."""
        reached_BT = (age_BT.unsqueeze(-1) >= self.edge_hours).sum(dim=-1)
        bucket_BT: Tensor = torch.where(age_BT.isnan(), 0, reached_BT + 1)
        return bucket_BT


class StepTokens(nn.Module):
    """One token a step: its features and its age added up, [request, step, channel]."""

    def __init__(
        self,
        side: SideLayout,
        *,
        width: int,
        statistics: RealStatistics,
        edge_hours: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.age = AgeBuckets(edge_hours)
        self.real = RealValues(side, width=width, statistics=statistics)
        self.bias_D = nn.Parameter(torch.randn(width))
        self.age_embedding_AD = nn.Parameter(torch.zeros(self.age.num_buckets + 1, width))

    def forward(self, real_BTR: Tensor, embedded_BTND: Tensor, age_BT: Tensor) -> Tensor:
        """The token of each step.

        Args:
            real_BTR: float32, NaN where missing.
            embedded_BTND: Its codes, embedded.
            age_BT: float32 hours, NaN where unknown.
        """
        age_BTD: Tensor = nn.functional.embedding(self.age(age_BT), self.age_embedding_AD)
        said_BTD = self.real(real_BTR).sum(dim=-2) + embedded_BTND.sum(dim=-2)
        token_BTD: Tensor = self.bias_D + said_BTD + age_BTD
        return token_BTD
