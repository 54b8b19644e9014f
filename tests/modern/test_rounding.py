from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from modern.data import rows_from_batch
from modern.forward import run_forward
from modern.rounding import MARGIN, measure_rounding
from modern.tokens import layout_of
from modern.transformer import module_paths
from modern.transformer_faults import OTHER_EPS
from tests.builders import random_batch
from tests.modern.small_transformer import CONFIG, a_model, feature_set

FEATURES = feature_set()
PATHS = module_paths(CONFIG.transformer)


def test_other_candidates_stay_within_the_bound() -> None:
    model = a_model(FEATURES)
    seen = rows_from_batch(random_batch(num_requests=300, seed=1), FEATURES).inputs
    others = rows_from_batch(random_batch(num_requests=1500, seed=2), FEATURES).inputs

    bounds = measure_rounding(model, seen, layout_of(FEATURES), paths=PATHS)

    narrow = run_forward(model, others, record=PATHS).recorded
    wide = run_forward(deepcopy(model).double(), others, record=PATHS).recorded
    for path in PATHS:
        error = np.abs(narrow[path] - wide[path]).max()
        assert 0 < error <= MARGIN * bounds[path], path


@pytest.mark.parametrize("path", ["encoder.layers.0.attention_norm", "encoder.norm"])
def test_a_wrong_epsilon_is_far_outside_of_the_bound(path: str) -> None:
    model = a_model(FEATURES)
    inputs = rows_from_batch(random_batch(num_requests=300, seed=1), FEATURES).inputs
    bound = MARGIN * measure_rounding(model, inputs, layout_of(FEATURES), paths=PATHS)[path]
    wrong = deepcopy(model)
    wrong.get_submodule(path).eps = OTHER_EPS

    right_values = run_forward(model, inputs, record=[path]).recorded[path]
    wrong_values = run_forward(wrong, inputs, record=[path]).recorded[path]

    assert np.abs(wrong_values - right_values).max() > 20 * bound


def test_it_is_repeatable_and_leaves_the_model_alone() -> None:
    model = a_model(FEATURES)
    inputs = rows_from_batch(random_batch(num_requests=50, seed=1), FEATURES).inputs

    first = measure_rounding(model, inputs, layout_of(FEATURES), paths=PATHS)

    assert measure_rounding(model, inputs, layout_of(FEATURES), paths=PATHS) == first
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}
