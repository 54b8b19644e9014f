"""What a port computes with: a planted fault replaces one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modern.features.feature_set import FeatureSet
from modern.port.legacy_artifact import LegacyArtifact
from modern.port.model import LegacyPort
from modern.ranking import ranks
from replay.trace import BatchKeys

Ranking = Callable[[NDArray[np.floating], BatchKeys], NDArray[np.int32]]
# eCPM is the price of a thousand impressions.
IMPRESSIONS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a port computes with.

    Attributes:
        artifact: As it was read.
        features: The features that are computed.
        model: From features to the probability.
        impressions: How many of them the eCPM is the price of.
        ranking: From what ranks to ranks.
    """

    artifact: LegacyArtifact
    features: FeatureSet
    model: LegacyPort
    impressions: float = IMPRESSIONS
    ranking: Ranking = ranks
