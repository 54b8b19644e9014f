from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modern.training.data import LabelledRequests, Parts
from modern.training.fit import Fitted, fit_transformer
from modern.training.metrics import log_losses
from modern.transformer.config import TransformerConfig
from modern.transformer.forward import logits_of
from modern.transformer.inputs import ModelInputs
from modern.transformer.layout import SideLayout, TokenLayout
from modern.transformer.training_config import ModernConfig, TrainingConfig

CATEGORIES = 6
NOISE = tuple(f"noise_{i}" for i in range(12))  # as many tokens as a real feature set has
LAYOUT = TokenLayout(
    request=SideLayout(real=("request_noise",)),
    candidate=SideLayout(
        real=NOISE, discrete=("category",), cardinalities=(1 + CATEGORIES,), first_codes=(0,)
    ),
    step=SideLayout(
        discrete=("history.category",), cardinalities=(1 + CATEGORIES,), first_codes=(0,)
    ),
    num_codes=1 + CATEGORIES,
)
STEPS, CANDIDATES = 6, 4


def requests(count: int, *, seed: int) -> LabelledRequests:
    """Clicked is what has the category of the last step: an order, and a product of two sides."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 1 + CATEGORIES, size=(count, STEPS))
    ads = rng.integers(1, 1 + CATEGORIES, size=(count, CANDIDATES))
    gaps = rng.uniform(20.0, 60.0, size=(count, STEPS))
    gaps[:, 0] = rng.uniform(0.0, 6.0, size=count)
    hours = np.cumsum(gaps, axis=1)[:, ::-1]
    inputs = ModelInputs(
        request_real=rng.normal(size=(count, 1)).astype(np.float32),
        request_codes=np.zeros((count, 0), np.int64),
        candidate_real=rng.normal(size=(ads.size, len(NOISE))).astype(np.float32),
        candidate_codes=ads.reshape(-1, 1),
        step_real=np.zeros((steps.size, 0), np.float32),
        step_codes=steps.reshape(-1, 1),
        step_age_hours=hours.reshape(-1).astype(np.float32),
        step_old=np.zeros(steps.size, np.int32),
        step_place=np.tile(np.arange(STEPS, dtype=np.int32), count),
        step_weight=(((1 + hours) / 25) ** -2.0).reshape(-1).astype(np.float32),
        candidate_offsets=np.arange(count + 1) * CANDIDATES,
        step_offsets=np.arange(count + 1) * STEPS,
    )
    return LabelledRequests(
        inputs=inputs,
        labels=(ads == steps[:, -1:]).reshape(-1, 1).astype(np.float32),
        day=np.zeros(count, dtype=np.int64),
        request_ids=np.arange(count).astype(str).astype(np.object_),
    )


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    config = ModernConfig(
        transformer=TransformerConfig(width=16, history_layers=1, dropout=0.0),
        training=TrainingConfig(
            seed=3, epochs=4, patience=4, batch_size=128, learning_rate=5e-3, weight_decay=0.05
        ),
    )
    stopping = requests(200, seed=1)
    parts = Parts(fit=requests(2500, seed=0), stopping=stopping, calibration=stopping)
    return fit_transformer(parts, LAYOUT, config)


def mean_loss(fitted: Fitted, rows: LabelledRequests) -> float:
    probability = 1 / (1 + np.exp(-logits_of(fitted.model, rows.inputs)[:, 0].astype(np.float64)))
    return float(log_losses(probability, rows.click).mean())


def test_what_follows_from_the_last_step_alone_is_learned(fitted: Fitted) -> None:
    """Once it was not: a question from the mean of all tokens, and embeddings that start at zero."""
    unseen = requests(500, seed=2)
    rate = unseen.click.mean()
    always_the_rate = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))

    assert mean_loss(fitted, unseen) < 0.25 * always_the_rate


def test_it_is_the_order_that_was_learned(fitted: Fitted) -> None:
    unseen = requests(500, seed=2)
    backwards = unseen.inputs.step_codes.reshape(-1, STEPS)[:, ::-1].reshape(-1, 1)
    in_other_order = replace(unseen, inputs=replace(unseen.inputs, step_codes=backwards))

    assert mean_loss(fitted, in_other_order) > 3 * mean_loss(fitted, unseen)
