from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from modern.features.feature_set import feature_set_from_json
from modern.transformer.config import Form, TransformerConfig
from modern.transformer.forward import run_forward
from modern.transformer.inputs import ModelInputs, features_read, inputs_from_batch
from modern.transformer.layout import layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import module_places
from modern.transformer.padding import (
    CandidateTensors,
    RequestTensors,
    candidate_slots,
    candidate_tensors,
    request_tensors,
    step_slots,
)
from modern.transformer.tokens import plain_statistics
from modern.transformer.training_config import ModernConfig
from replay.errors import ConfigError
from tests.builders import a_candidate, a_request, a_step, at, batch_of
from tests.modern.numpy_transformer import NumpyTransformer
from tests.modern.small_transformer import (
    CONFIG,
    a_model,
    config,
    feature_set,
    features_json,
    some_inputs,
)

FEATURES = feature_set()
FORMS: tuple[Form, ...] = get_args(Form)
EVERY_TASK = ("click", "conversion", "view_2s", "view_5s")


def of(**settings: Any) -> ModernConfig:
    return replace(CONFIG, transformer=replace(CONFIG.transformer, **settings))


def tensors(inputs: ModelInputs) -> tuple[RequestTensors, CandidateTensors]:
    everyone = np.arange(len(inputs))
    candidates = candidate_slots(inputs, everyone, 0, inputs.num_candidates)
    steps = step_slots(inputs, everyone)
    return request_tensors(inputs, everyone, steps), candidate_tensors(inputs, candidates)


def double(values: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [x.double() if x.dtype == torch.float32 else x for x in values]


@pytest.mark.parametrize(
    "settings",
    [
        *({"form": form} for form in FORMS),
        {"tasks": EVERY_TASK},
        {"num_layers": 1, "history_layers": 1, "request_layers": 0},
        {"num_layers": 3, "history_layers": 3, "request_layers": 2, "num_heads": 4},
        {"history_layers": 0},
        {"activation": "gelu_tanh", "layernorm_eps": 1e-2},
    ],
    ids=str,
)
def test_it_is_the_function_written_out_in_numpy(settings: dict[str, Any]) -> None:
    """Also proves what is shared, folded or left uncomputed, and that collapsed steps weigh."""
    chosen = of(**settings)
    model = a_model(FEATURES, of=chosen)
    inputs = some_inputs(FEATURES, num_requests=15, seed=4, of=chosen)
    layout = layout_of(features_read(FEATURES, chosen.transformer))
    assert chosen.transformer.form == "no_history" or (inputs.step_weight > 1).any()

    found = run_forward(deepcopy(model).double(), inputs).logits

    expected = NumpyTransformer(model, layout).logits(inputs)
    # The logits are handed on as float32.
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=1e-12)


def test_float32_stays_close_to_float64() -> None:
    model = a_model(FEATURES)
    inputs = some_inputs(FEATURES, num_requests=100, seed=4)

    found = run_forward(model, inputs).logits

    expected = run_forward(deepcopy(model).double(), inputs).logits
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)


def test_shared_and_plain_are_one_function_with_one_set_of_weights() -> None:
    shared, plain = (a_model(FEATURES, of=config(form=form)) for form in ("shared", "plain"))
    plain.load_state_dict(shared.state_dict())
    inputs = some_inputs(FEATURES, num_requests=20, seed=5)
    request, candidates = tensors(inputs)

    narrow = [model(*request, *candidates) for model in (shared, plain)]
    wide = [model.double()(*double(request), *double(candidates)) for model in (shared, plain)]

    torch.testing.assert_close(wide[0], wide[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(narrow[0], narrow[1], rtol=0, atol=2e-5)


def test_every_module_of_plain_has_what_the_shared_one_has() -> None:
    shared, plain = (a_model(FEATURES, of=config(form=form)) for form in ("shared", "plain"))
    plain.load_state_dict(shared.state_dict())
    inputs = some_inputs(FEATURES, num_requests=20, seed=5)
    places = module_places(layout_of(FEATURES), CONFIG.transformer)

    ours, theirs = (run_forward(model.double(), inputs, record=places) for model in (shared, plain))

    assert list(ours.recorded) == [place.path for place in places]
    for path, values in ours.recorded.items():
        np.testing.assert_allclose(values, theirs.recorded[path], rtol=0, atol=1e-11, err_msg=path)


@pytest.mark.parametrize("form", FORMS)
def test_forward_is_encoding_the_request_and_then_scoring_candidates(form: Form) -> None:
    model = a_model(FEATURES, of=config(form=form)).double()
    request, candidates = tensors(some_inputs(FEATURES, num_requests=6, of=config(form=form)))
    request, candidates = double(request), double(candidates)

    state = model.encode_request(*request)
    found = model.score_candidates(state, *candidates)

    torch.testing.assert_close(found, model(*request, *candidates), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_a_candidates_logit_depends_on_no_neighbour_no_padding_and_no_batch(form: Form) -> None:
    chosen = config(form=form)
    model = a_model(FEATURES, of=chosen).double()
    inputs = some_inputs(FEATURES, num_requests=12, seed=6, of=chosen)
    request, candidates = (double(part) for part in tensors(inputs))

    together = model(*request, *candidates)

    for r in range(len(inputs)):
        alone = [double(part) for part in tensors(inputs.take(np.array([r])))]
        for k in range(alone[1][0].shape[1]):
            one = model(*alone[0], *(x[:, k : k + 1] for x in alone[1]))
            torch.testing.assert_close(one[0, 0], together[r, k], rtol=0, atol=1e-12)


def test_what_stands_in_the_padding_of_steps_is_never_seen() -> None:
    model = a_model(FEATURES)
    request, candidates = tensors(some_inputs(FEATURES, num_requests=12, seed=6))
    unseen = request.step_weight_BT == 0
    before = model(*request, *candidates)

    changed = request._replace(
        step_real_BTR=request.step_real_BTR.masked_fill(unseen[..., None], 1e6),
        step_code_BTN=torch.where(unseen[..., None], 1, request.step_code_BTN),
        step_old_BT=request.step_old_BT ^ unseen,
    )

    assert unseen.any()
    assert torch.equal(model(*changed, *candidates), before)


def recorded(model: RankingTransformer, inputs: ModelInputs) -> dict[str, np.ndarray]:
    places = module_places(layout_of(FEATURES), CONFIG.transformer)
    return dict(run_forward(model, inputs, record=places).recorded)


def test_old_steps_and_the_request_see_no_recent_step_and_no_candidate() -> None:
    """In every layer: so the old segment can be computed before the day, the request once."""
    model = a_model(FEATURES).double()
    inputs = some_inputs(FEATURES, num_requests=30, seed=7)
    recent = inputs.step_old == 0
    moved = replace(
        inputs,
        step_real=np.where(recent[:, None], 3 - inputs.step_real, inputs.step_real),
        step_codes=np.where(recent[:, None], 2, inputs.step_codes),
        candidate_codes=np.ones_like(inputs.candidate_codes),
    )

    before, after = recorded(model, inputs), recorded(model, moved)

    old = (inputs.step_old == 1) & (inputs.step_place >= 0)
    seen = recent & (inputs.step_place >= 0)
    assert old.sum() > 5 and seen.sum() > 5
    for path, values in before.items():
        if path.startswith("history."):
            np.testing.assert_array_equal(values[old], after[path][old], err_msg=path)
            assert not np.array_equal(values[seen], after[path][seen])
        if path.startswith("request"):
            np.testing.assert_array_equal(values, after[path], err_msg=path)
    assert not np.array_equal(before["heads"], after["heads"])


def test_recent_steps_see_old_ones() -> None:
    model = a_model(FEATURES)
    inputs = some_inputs(FEATURES, num_requests=60, seed=7)
    moved = replace(
        inputs,
        step_codes=np.where(inputs.step_old[:, None] == 1, 2, inputs.step_codes),
    )
    request_of = np.repeat(np.arange(len(inputs)), np.diff(inputs.step_offsets))
    read = inputs.step_place >= 0
    with_old = np.unique(request_of[read & (inputs.step_old == 1)])
    rows = np.flatnonzero(read & (inputs.step_old == 0) & np.isin(request_of, with_old))

    before, after = (recorded(model, i)["history.layers.0.attention"] for i in (inputs, moved))

    assert len(rows) and (before[rows] != after[rows]).any()


def test_the_old_segment_can_be_encoded_before() -> None:
    model = a_model(FEATURES).double()
    inputs = some_inputs(FEATURES, num_requests=30, seed=7)
    request, candidates = (double(part) for part in tensors(inputs))
    parts = []
    for segment in (1, 0):
        own = replace(
            inputs, step_place=np.where(inputs.step_old == segment, inputs.step_place, -1)
        )
        parts.append(RequestTensors(*double(tensors(own)[0])))
    old, recent = parts

    before = model.encode_old(
        old.step_real_BTR, old.step_code_BTN, old.step_age_BT, old.step_weight_BT
    )
    state = model.encode_request(*recent, old_state=before)

    found = model.score_candidates(state, *candidates)
    torch.testing.assert_close(found, model(*request, *candidates), rtol=0, atol=1e-12)


def test_n_equal_steps_are_one_that_weighs_n() -> None:
    """The attention of a collapsed history is that of the whole one."""
    model = a_model(FEATURES).double()
    step = a_step(action="view", at=at("2019-11-30 15:00"))
    alone = a_step(ad_id=3, action="click", at=at("2019-11-30 14:00"))

    def logits(*steps: dict[str, Any], collapse: bool) -> np.ndarray:
        batch = batch_of(a_request(history=steps, candidates=[a_candidate(1)]))
        history = replace(CONFIG.history, max_recent=9, collapse_by=("action",) if collapse else ())
        return run_forward(model, inputs_from_batch(batch, FEATURES, history)).logits

    whole = logits(alone, step, step, step, collapse=False)

    np.testing.assert_allclose(logits(alone, step, step, step, collapse=True), whole, rtol=1e-6)
    assert not np.allclose(logits(alone, step, collapse=False), whole, rtol=1e-4)


def test_every_value_of_a_request_a_candidate_and_a_step_reaches_the_logit() -> None:
    model = a_model(FEATURES)
    inputs = some_inputs(FEATURES, num_requests=60, seed=8)
    before = run_forward(model, inputs).logits

    for name in ("request_real", "candidate_real", "step_real", "step_age_hours"):
        values = getattr(inputs, name)
        moved = np.where(np.isnan(values), 1.0, values * 0.5 + 3).astype(np.float32)
        assert not np.array_equal(
            run_forward(model, replace(inputs, **{name: moved})).logits, before
        ), name
    for name in ("request_codes", "candidate_codes", "step_codes"):
        values = getattr(inputs, name)
        for column in range(values.shape[1]):
            moved = values.copy()
            moved[:, column] = (moved[:, column] + 1) % 4
            assert not np.array_equal(
                run_forward(model, replace(inputs, **{name: moved})).logits, before
            ), (name, column)


@pytest.mark.parametrize("form", FORMS)
def test_an_untrained_model_is_the_prior(form: Form) -> None:
    chosen = config(form=form, tasks=EVERY_TASK)
    layout = layout_of(features_read(FEATURES, chosen.transformer))
    model = RankingTransformer(
        layout,
        chosen.transformer,
        chosen.history,
        statistics=plain_statistics(layout),
        prior_logits=(-1.5, -2.5, 0.5, 0.25),
    ).eval()

    found = run_forward(model, some_inputs(FEATURES, of=chosen)).logits

    np.testing.assert_array_equal(
        found, np.tile(np.float32([-1.5, -2.5, 0.5, 0.25]), (len(found), 1))
    )


def test_a_head_does_not_depend_on_how_many_others_there_are() -> None:
    every = a_model(FEATURES, of=config(tasks=EVERY_TASK)).double()
    alone = a_model(FEATURES, of=config(tasks=("click",))).double()
    per_task = {"heads.weight", "heads.bias", "prior_logit_H", "interaction.layers.1.task_HD"}
    alone.load_state_dict({n: t[:1] if n in per_task else t for n, t in every.state_dict().items()})
    inputs = some_inputs(FEATURES)

    found = run_forward(alone, inputs).logits[:, 0]

    np.testing.assert_allclose(found, run_forward(every, inputs).logits[:, 0], rtol=0, atol=1e-6)


def test_a_log_without_step_features_has_a_model_without_history() -> None:
    plain = feature_set_from_json(features_json() | {"history": []}, where="a test")
    model = a_model(plain)

    found = run_forward(model, some_inputs(plain)).logits

    assert not model.reads_history
    assert np.isfinite(found).all()


def test_module_paths_are_the_models_own_in_the_order_they_run() -> None:
    chosen = of(num_layers=3, history_layers=1, request_layers=2)
    model = a_model(FEATURES, of=chosen)
    paths = [place.path for place in module_places(layout_of(FEATURES), chosen.transformer)]
    ran: list[str] = []
    for path in paths:
        model.get_submodule(path).register_forward_hook(
            lambda *_, path=path: ran.append(path)  # type: ignore[misc]
        )

    request, candidates = tensors(some_inputs(FEATURES, num_requests=3))
    model(*request, *candidates)

    assert ran == paths


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"width": 10, "num_heads": 4}, "sizes"),
        ({"num_layers": 0}, "sizes"),
        ({"history_layers": -1}, "sizes"),
        ({"dropout": 1.0}, "out of range"),
        ({"layernorm_eps": 0.0}, "out of range"),
        ({"activation": "relu"}, "no activation is called 'relu'"),
        ({"form": "late"}, "no form is called 'late'"),
        ({"tasks": ("click", "install")}, "no task is called 'install'"),
        ({"tasks": ()}, "the tasks are"),
        ({"tasks": ("click", "click")}, "the tasks are"),
    ],
)
def test_a_model_that_can_not_be_built_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TransformerConfig(**settings)
