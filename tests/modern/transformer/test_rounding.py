from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from modern.transformer.faults import OTHER_EPS
from modern.transformer.forward import run_forward
from modern.transformer.layout import layout_of
from modern.transformer.module_places import module_places
from modern.transformer.rounding import MARGIN, measure_rounding
from tests.modern.small_transformer import CONFIG, a_model, feature_set, some_inputs

FEATURES = feature_set()
LAYOUT = layout_of(FEATURES)
PLACES = {place.path: place for place in module_places(LAYOUT, CONFIG.transformer)}
REAL = [path for path, place in PLACES.items() if not place.discrete]


def test_other_requests_stay_within_the_bound() -> None:
    model = a_model(FEATURES)
    seen = some_inputs(FEATURES, num_requests=300, seed=1)
    others = some_inputs(FEATURES, num_requests=1000, seed=2)

    bounds = measure_rounding(model, seen, LAYOUT, places=list(PLACES.values()))

    narrow = run_forward(model, others, record=list(PLACES.values())).recorded
    wide = run_forward(deepcopy(model).double(), others, record=list(PLACES.values())).recorded
    assert set(bounds) == set(REAL)
    for path in REAL:
        error = np.nanmax(np.abs(narrow[path] - wide[path]))
        assert 0 < error <= MARGIN * bounds[path], path


@pytest.mark.parametrize(
    "path", ["history.layers.0.attention_norm", "request.norm", "interaction.norm"]
)
def test_a_wrong_epsilon_is_far_outside_of_the_bound(path: str) -> None:
    model = a_model(FEATURES)
    inputs = some_inputs(FEATURES, num_requests=300, seed=1)
    bound = MARGIN * measure_rounding(model, inputs, LAYOUT, places=[PLACES[path]])[path]
    wrong = deepcopy(model)
    wrong.get_submodule(path).eps = OTHER_EPS

    right_values = run_forward(model, inputs, record=[PLACES[path]]).recorded[path]
    wrong_values = run_forward(wrong, inputs, record=[PLACES[path]]).recorded[path]

    assert np.nanmax(np.abs(wrong_values - right_values)) > 20 * bound


def test_it_is_repeatable_and_leaves_the_model_alone() -> None:
    model = a_model(FEATURES)
    inputs = some_inputs(FEATURES, num_requests=50, seed=1)
    places = list(PLACES.values())

    first = measure_rounding(model, inputs, LAYOUT, places=places)

    assert measure_rounding(model, inputs, LAYOUT, places=places) == first
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}
