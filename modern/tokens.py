"""One token a feature: what the transformer reads in place of a row of numbers."""

# C = candidates, R = real features, N = discrete features, T = tokens (task token first),
# D = model width, V = codes of all discrete features

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.features import FeatureSet
from replay.errors import StackError

# Ten standard deviations from the mean: what lies further out says no more than "extreme",
# and an infinite value must not turn the candidate's logit into NaN.
FURTHEST = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """Which features become tokens, in their order: first the real ones, then the discrete.

    Attributes:
        real: Names of the real features.
        discrete: Names of the discrete features.
        cardinalities: Codes of each discrete feature; code 0 is missing or unknown.
    """

    real: tuple[str, ...]
    discrete: tuple[str, ...]
    cardinalities: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """The feature tokens and the task token."""
        return 1 + len(self.real) + len(self.discrete)

    @property
    def num_codes(self) -> int:
        """Rows of the embedding table."""
        return sum(self.cardinalities)

    @property
    def code_offsets(self) -> tuple[int, ...]:
        """The first row of each discrete feature in the embedding table."""
        return (0, *accumulate(self.cardinalities))[:-1] if self.cardinalities else ()


def layout_of(feature_set: FeatureSet) -> TokenLayout:
    """The tokens of a feature set, features in the order of its file."""
    return TokenLayout(
        real=tuple(feature.name for feature in feature_set.real),
        discrete=tuple(feature.name for feature in feature_set.discrete),
        cardinalities=tuple(feature.cardinality for feature in feature_set.discrete),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenInputs:
    """What the tokens are made of.

    Attributes:
        real: [candidate, real feature] float32, NaN where missing.
        codes: [candidate, discrete feature] int64, each within its cardinality.
    """

    real: NDArray[np.float32]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.real)


def inputs_from_features(
    features: Mapping[str, NDArray[Any]],
    feature_set: FeatureSet,
    *,
    request_of: NDArray[np.int64],
) -> TokenInputs:
    """Bring every feature to the candidates, the values of a request to each of its own.

    Args:
        features: Name to [request] or [candidate] values, as the feature's axis says.
        feature_set: Their declarations.
        request_of: [candidate] to its request.

    Raises:
        StackError: A bucket or hash lies outside its cardinality.
    """
    real_CR = np.empty((len(request_of), len(feature_set.real)), dtype=np.float32)
    code_CN = np.empty((len(request_of), len(feature_set.discrete)), dtype=np.int64)
    for place, real in enumerate(feature_set.real):
        by_request = feature_set.axis(real.name) == "request"
        values = features[real.name]
        real_CR[:, place] = values[request_of] if by_request else values
    for place, discrete in enumerate(feature_set.discrete):
        by_request = feature_set.axis(discrete.name) == "request"
        codes = discrete.codes(features[discrete.name])
        if len(codes) and not 0 <= codes.min() <= codes.max() < discrete.cardinality:
            raise StackError(
                f"a value has the code {codes.min()} or {codes.max()}, and the feature "
                f"has the codes 0 to {discrete.cardinality - 1}.",
                where=f"features.{discrete.name}",
                fix="give values that the feature's declaration in features.json allows",
            )
        code_CN[:, place] = codes[request_of] if by_request else codes
    return TokenInputs(real=real_CR, codes=code_CN)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealStatistics:
    """How a real feature is brought to zero mean and unit variance.

    Attributes:
        mean: [real feature] float32.
        scale: [real feature] float32, positive.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


def statistics_of(real_CR: NDArray[np.float32]) -> RealStatistics:
    """Mean and standard deviation of the training rows; missing and infinite values do not count.

    A feature that is constant or always missing there gets scale 1: nothing was learned
    about its spread, and dividing by almost zero would make noise of the first new value.
    """
    wide = real_CR.astype(np.float64)
    present = np.isfinite(wide)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, wide, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(present, (wide - mean) ** 2, 0.0).sum(axis=0) / count)
    # Below this share of its mean a spread is float32 rounding, not information.
    varies = deviation > np.maximum(np.abs(mean), 1.0) * 1e-6
    scale = np.where(varies, deviation, 1.0)
    return RealStatistics(mean=mean.astype(np.float32), scale=scale.astype(np.float32))


class FeatureTokens(nn.Module):
    """Features to tokens [candidate, token, channel], the task token first.

    A real token is bias + standardised value x direction (within FURTHEST), or bias + its own learned
    embedding where the value is missing. A discrete token is bias + the embedding of its code.
    Embeddings start at zero, so what training never saw reads as the feature's bias.
    """

    mean: Tensor
    scale: Tensor
    first_code: Tensor

    def __init__(self, layout: TokenLayout, *, width: int, statistics: RealStatistics) -> None:
        super().__init__()
        num_real = len(layout.real)
        self.register_buffer("mean", torch.from_numpy(statistics.mean.copy()))
        self.register_buffer("scale", torch.from_numpy(statistics.scale.copy()))
        self.register_buffer(
            "first_code", torch.tensor(layout.code_offsets, dtype=torch.int64), persistent=False
        )
        self.task_D = nn.Parameter(torch.randn(width))
        self.direction_RD = nn.Parameter(torch.randn(num_real, width))
        self.bias_RD = nn.Parameter(torch.randn(num_real, width))
        self.missing_RD = nn.Parameter(torch.zeros(num_real, width))
        self.bias_ND = nn.Parameter(torch.randn(len(layout.discrete), width))
        self.embedding_VD = nn.Parameter(torch.zeros(layout.num_codes, width))

    def forward(self, real_CR: Tensor, code_CN: Tensor) -> Tensor:
        """The tokens of each candidate.

        Args:
            real_CR: float32, NaN where missing.
            code_CN: int64, each within its feature's cardinality.
        """
        standard_CR = ((real_CR - self.mean) / self.scale).clamp(-FURTHEST, FURTHEST)
        missing_CR1 = standard_CR.isnan().unsqueeze(-1)
        moved_CRD = standard_CR.nan_to_num(nan=0.0).unsqueeze(-1) * self.direction_RD
        real_CRD = self.bias_RD + torch.where(missing_CR1, self.missing_RD, moved_CRD)
        code_CND = nn.functional.embedding(code_CN + self.first_code, self.embedding_VD)
        task_C1D = self.task_D.expand(len(real_CR), 1, -1)
        return torch.cat([task_C1D, real_CRD, self.bias_ND + code_CND], dim=1)
