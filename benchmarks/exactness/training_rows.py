"""Random rows and labels that both libraries' models are trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.exactness.cases import Rows

ROWS = 400
NUM_FEATURES = 6
# Of the features that hold categories where a model has any: many and few.
CATEGORICAL = (1, 4)
GROUP_SIZE = 20


def drawn_features(rng: np.random.Generator, *, categories: bool) -> Rows:
    """Normal values, small counts, values over many powers of two, many zeros; 15 % missing."""
    features = rng.normal(size=(ROWS, NUM_FEATURES)).astype(np.float32)
    features[:, 2] = np.round(features[:, 2] * 2)
    features[:, 3] = np.exp(features[:, 3] * 8)
    features[:, 5] *= rng.random(ROWS) < 0.5
    features[rng.random(features.shape) < 0.15] = np.nan
    if categories:
        for feature, count in zip(CATEGORICAL, (30, 3), strict=True):
            features[:, feature] = rng.integers(0, count, ROWS)
    return features


def drawn_labels(features: Rows, kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Labels of a kind that an objective asks for."""
    filled = np.nan_to_num(features)
    signal = filled[:, 0] + np.sin(filled[:, 1]) - (filled[:, 2] > 0) + rng.normal(size=ROWS)
    labels: NDArray[np.float64] = {
        "real": signal,
        "positive": np.exp(signal / 2),
        "bounds": np.exp(signal / 2),
        "signed": np.where(rng.random(ROWS) < 0.3, -1, 1) * np.exp(signal / 2),
        "binary": (signal > 0).astype(np.float64),
        "group": (signal > 0.5).astype(np.float64),
        "class": np.clip(np.floor(signal + 2), 0, 3),
    }[kind]
    return labels
