"""Two translations that share no code agree on values chosen to tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from legacy.features import Extractor
from modern.features.feature_set import compute_features, feature_set_from_json
from tests.artifacts import FEATURES, feature_set
from tests.builders import random_batch


@pytest.mark.parametrize("seed", range(8))
def test_row_by_row_and_by_column_give_the_same_features(seed: int) -> None:
    batch = random_batch(25, 6, seed=seed)
    row_wise = Extractor(feature_set(money=None).features)
    columnar = feature_set_from_json(
        {
            "format": "parity.features/1",
            "training_id": "0" * 32,
            "money": None,
            "features": [dict(feature) for feature in FEATURES],
        },
        where="tests",
    )

    wanted = row_wise.extract(batch, [feature["name"] for feature in FEATURES])
    found = compute_features(batch, columnar)

    assert list(found) == list(wanted)
    for name, values in found.items():
        assert values.dtype == wanted[name].dtype, name
        if values.dtype == np.float32 and not columnar[name].exact:
            # Each side rounds once, and mathematics libraries differ: one ulp in all.
            np.testing.assert_array_equal(np.isnan(values), np.isnan(wanted[name]), err_msg=name)
            np.testing.assert_array_max_ulp(values, wanted[name], maxulp=1)
        else:
            np.testing.assert_array_equal(values, wanted[name], err_msg=name)
