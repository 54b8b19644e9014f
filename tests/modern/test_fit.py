from __future__ import annotations

import numpy as np
import pytest
import torch

from modern.config import ModernConfig, TrainingConfig
from modern.data import LabelledRows, Parts
from modern.fit import Epoch, fit_transformer
from modern.forward import logits_of
from modern.metrics import log_losses, quality_of
from modern.tokens import TokenInputs, TokenLayout
from modern.transformer import TransformerConfig

LAYOUT = TokenLayout(real=("a", "b"), discrete=("c",), cardinalities=(5,))
SMALL = TransformerConfig(width=8, num_layers=2, num_heads=2, feed_forward=16)


def drawn(num_rows: int, *, seed: int) -> LabelledRows:
    """Clicks that depend on whether a code and a value come together, and on a missing value."""
    rng = np.random.default_rng(seed)
    real = rng.normal(50.0, 10.0, (num_rows, 2)).astype(np.float32)
    real[rng.random(num_rows) < 0.2, 1] = np.nan
    codes = rng.integers(5, size=(num_rows, 1))
    inputs = TokenInputs(real=real, codes=codes)
    return LabelledRows(
        inputs=inputs,
        click=rng.random(num_rows) < probabilities(true_logits(inputs)),
        day=np.zeros(num_rows, dtype=np.int64),
        request_ids=np.arange(num_rows).astype(str).astype(np.object_),
    )


def true_logits(inputs: TokenInputs, *, together_matters: bool = True) -> np.ndarray:
    together = (inputs.real[:, 0] > 50) == (inputs.codes[:, 0] >= 2)
    return -2.5 + 2.5 * (together if together_matters else 0.5) + 1.5 * np.isnan(inputs.real[:, 1])


def some_parts(num_rows: int = 4000) -> Parts:
    return Parts(
        fit=drawn(num_rows, seed=1),
        stopping=drawn(1000, seed=2),
        calibration=drawn(1000, seed=3),
    )


def config(**training: float) -> ModernConfig:
    return ModernConfig(transformer=SMALL, training=TrainingConfig(**training))  # type: ignore[arg-type]


def probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_it_learns_what_only_two_features_together_say_and_what_missing_says() -> None:
    held_out = drawn(5000, seed=4)

    model = fit_transformer(
        some_parts(), LAYOUT, config(epochs=40, patience=10, learning_rate=5e-3)
    )

    found, truth, without = (
        quality_of(probabilities(logits), held_out.click).ne
        for logits in (
            logits_of(model, held_out.inputs),
            true_logits(held_out.inputs),
            true_logits(held_out.inputs, together_matters=False),
        )
    )
    assert found is not None and truth is not None and without is not None
    assert truth < without - 0.08
    assert found < truth + 0.02


def test_the_weights_of_the_best_epoch_are_kept_and_it_stops_when_none_gets_better() -> None:
    parts = some_parts(600)
    epochs: list[Epoch] = []

    model = fit_transformer(
        parts,
        LAYOUT,
        config(epochs=60, patience=2, learning_rate=0.02),
        report=epochs.append,
    )

    losses = [epoch.log_loss for epoch in epochs]
    kept = log_losses(probabilities(logits_of(model, parts.stopping.inputs)), parts.stopping.click)
    assert len(epochs) < 60
    assert kept.mean() == pytest.approx(min(losses), rel=1e-6)
    assert [e.number for e in epochs if e.best][-1] == 1 + int(np.argmin(losses))
    assert len(epochs) == 1 + int(np.argmin(losses)) + 2


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    parts = some_parts(300)
    first = fit_transformer(parts, LAYOUT, config(epochs=2)).state_dict()
    torch.rand(17)
    second = fit_transformer(parts, LAYOUT, config(epochs=2)).state_dict()
    other = fit_transformer(parts, LAYOUT, config(epochs=2, seed=8)).state_dict()

    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_training_leaves_the_processes_generator_and_threads_alone() -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)

    fit_transformer(some_parts(300), LAYOUT, config(epochs=1, threads=2))

    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_without_rows_to_stop_by_the_first_epoch_stands() -> None:
    parts = some_parts(300)
    empty = Parts(
        fit=parts.fit,
        stopping=parts.stopping.take(np.zeros(1000, dtype=np.bool_)),
        calibration=parts.calibration,
    )
    epochs: list[Epoch] = []

    fit_transformer(empty, LAYOUT, config(patience=2), report=epochs.append)

    assert [epoch.best for epoch in epochs] == [True, False, False]
