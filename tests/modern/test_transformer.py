from __future__ import annotations

from math import erf, pi, sqrt, tanh
from typing import Any

import numpy as np
import pytest
import torch

from modern.tokens import TokenLayout, statistics_of
from modern.transformer import Transformer, TransformerConfig, module_paths
from replay.errors import ConfigError
from tests.modern.small_transformer import rows_with_missing

LAYOUT = TokenLayout(real=("a", "b", "c"), discrete=("d", "e"), cardinalities=(4, 6))
Weights = dict[str, np.ndarray]


def a_transformer(**config: Any) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(
        LAYOUT,
        TransformerConfig(width=8, num_heads=2, feed_forward=12, **config),
        statistics=statistics_of(rows_with_missing(50, 3)),
        prior_logit=-1.5,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval().requires_grad_(requires_grad=False)


def some_inputs(num_rows: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    codes = np.random.default_rng(2).integers([4, 6], size=(num_rows, 2))
    return torch.from_numpy(rows_with_missing(num_rows, 3, seed=3)), torch.from_numpy(codes)


def numpy_norm(x: np.ndarray, w: Weights, path: str, eps: float) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return scaled * w[f"{path}.weight"] + w[f"{path}.bias"]


def numpy_linear(x: np.ndarray, w: Weights, path: str) -> np.ndarray:
    return x @ w[f"{path}.weight"].T + w[f"{path}.bias"]


def numpy_attention(x: np.ndarray, w: Weights, path: str, heads: int) -> np.ndarray:
    q, k, v = (numpy_linear(x, w, f"{path}.{part}") for part in ("query", "key", "value"))
    width = x.shape[-1] // heads
    mixed = np.empty_like(x)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].swapaxes(-1, -2) / sqrt(width)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed[..., part] = weights / weights.sum(axis=-1, keepdims=True) @ v[..., part]
    return numpy_linear(mixed, w, f"{path}.out")


def numpy_gelu(x: np.ndarray, activation: str) -> np.ndarray:
    if activation == "gelu":
        return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))
    return x * 0.5 * (1 + np.vectorize(tanh)(sqrt(2 / pi) * (x + 0.044715 * x**3)))


def numpy_logits(model: Transformer, real: np.ndarray, codes: np.ndarray, **config: Any) -> Any:
    """The same model in plain numpy and float64, every token through every layer."""
    settings = TransformerConfig(width=8, num_heads=2, feed_forward=12, **config)
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    value = np.clip((real - w["tokens.mean"]) / w["tokens.scale"], -10, 10)[..., None]
    real_tokens = w["tokens.bias_RD"] + np.where(
        np.isnan(value), w["tokens.missing_RD"], value * w["tokens.direction_RD"]
    )
    embedded = w["tokens.embedding_VD"][codes + np.array([0, 4])] + w["tokens.bias_ND"]
    task = np.broadcast_to(w["tokens.task_D"], (len(real), 1, 8))
    x = np.concatenate([task, real_tokens, embedded], axis=1)
    for place in range(settings.num_layers):
        layer = f"encoder.layers.{place}"
        normed = numpy_norm(x, w, f"{layer}.attention_norm", settings.layernorm_eps)
        x = x + numpy_attention(normed, w, f"{layer}.attention", settings.num_heads)
        normed = numpy_norm(x, w, f"{layer}.feed_forward_norm", settings.layernorm_eps)
        up = numpy_gelu(numpy_linear(normed, w, f"{layer}.feed_forward.up"), settings.activation)
        x = x + numpy_linear(up, w, f"{layer}.feed_forward.down")
    task_out = numpy_norm(x[:, 0], w, "encoder.norm", settings.layernorm_eps)
    return w["prior_logit"] + numpy_linear(task_out, w, "head")[:, 0]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_layers": 1},
        {"num_layers": 3},
        {"activation": "gelu_tanh"},
        {"layernorm_eps": 1e-2},
    ],
    ids=str,
)
def test_it_is_the_function_written_out_in_numpy(config: dict[str, Any]) -> None:
    """Also proves that computing the task token alone in the last layer changes nothing."""
    model = a_transformer(**config)
    real, codes = some_inputs()

    found = model.double()(real, codes).numpy()

    expected = numpy_logits(model, real.double().numpy(), codes.numpy(), **config)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_float32_stays_close_to_float64() -> None:
    model = a_transformer()
    real, codes = some_inputs(200)

    found = model(real, codes).numpy()

    expected = numpy_logits(model, real.double().numpy(), codes.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_feature_tokens_have_no_positions() -> None:
    model = a_transformer().double()
    tokens = model.tokens(*some_inputs())
    shuffled = tokens[:, [0, 4, 2, 5, 1, 3]]

    torch.testing.assert_close(model.encoder(shuffled), model.encoder(tokens), rtol=0, atol=1e-12)


def test_a_candidates_logit_does_not_depend_on_its_neighbours() -> None:
    model = a_transformer().double()
    real, codes = some_inputs()

    together = model(real, codes)
    alone = torch.cat([model(real[i : i + 1], codes[i : i + 1]) for i in range(len(real))])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_every_token_reaches_the_logit() -> None:
    model = a_transformer()
    real, codes = some_inputs(1)
    before = model(real, codes)

    for column in range(3):
        moved = real.clone()
        moved[0, column] = 1.0 + (0.0 if moved[0, column].isnan() else moved[0, column])
        assert not torch.equal(model(moved, codes), before)
    for column in range(2):
        moved = codes.clone()
        moved[0, column] = (moved[0, column] + 1) % 4
        assert not torch.equal(model(real, moved), before)


def test_an_untrained_model_is_the_prior() -> None:
    model = Transformer(
        LAYOUT,
        TransformerConfig(),
        statistics=statistics_of(rows_with_missing(50, 3)),
        prior_logit=-1.5,
    )

    assert torch.equal(model.eval()(*some_inputs()), torch.full((7,), -1.5))


def test_module_paths_are_the_models_own_in_the_order_they_run() -> None:
    model = a_transformer(num_layers=3)
    ran: list[str] = []
    paths = module_paths(TransformerConfig(num_layers=3))
    for path in paths:
        model.get_submodule(path).register_forward_hook(
            lambda *_, path=path: ran.append(path)  # type: ignore[misc]
        )

    model(*some_inputs())

    assert tuple(ran) == paths


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"width": 10, "num_heads": 4}, "sizes"),
        ({"num_layers": 0}, "sizes"),
        ({"dropout": 1.0}, "out of range"),
        ({"layernorm_eps": 0.0}, "out of range"),
        ({"activation": "relu"}, "no activation is called 'relu'"),
    ],
)
def test_a_size_that_can_not_be_built_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TransformerConfig(**settings)
