"""What a port computes with: a planted fault replaces one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modern.artifact import LegacyArtifact
from modern.features import FeatureSet
from modern.features_columns import integers
from modern.port import LegacyPort
from replay.trace import BatchKeys

Ranking = Callable[[NDArray[np.floating], BatchKeys], NDArray[np.int32]]
# eCPM is the price of a thousand impressions.
IMPRESSIONS = 1000.0


def ranks(values: NDArray[np.floating], keys: BatchKeys) -> NDArray[np.int32]:
    """[candidate], place in its request by falling value, ties by rising ad id; NaN comes last."""
    return ranks_by(values, id_order(keys.ad_ids), keys)


def ranks_by(
    values: NDArray[np.floating], ties: NDArray[np.int64], keys: BatchKeys
) -> NDArray[np.int32]:
    """[candidate], place in its request by falling value, ties by rising `ties`."""
    requests = keys.request_of("candidate")
    order = np.lexsort((ties, -values, requests))
    places = np.empty(len(values), np.int32)
    places[order] = np.arange(len(values)) - keys.candidate_offsets[requests[order]]
    return places


def id_order(ad_ids: pa.Array) -> NDArray[np.int64]:
    """[candidate], numbers that sort as the ids do; text by its UTF-8 bytes."""
    if pa.types.is_int64(ad_ids.type):
        return integers(ad_ids)
    dense = pc.rank(ad_ids.cast(pa.binary()), sort_keys="ascending", tiebreaker="dense")
    return integers(dense)


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
