from __future__ import annotations

import numpy as np
import pytest
import torch

from modern.features import compute_features
from modern.tokens import (
    FURTHEST,
    FeatureTokens,
    RealStatistics,
    TokenLayout,
    inputs_from_features,
    layout_of,
    statistics_of,
)
from replay.errors import StackError
from tests.builders import a_candidate, a_request, batch_of
from tests.modern.small_transformer import feature_set

LAYOUT = TokenLayout(real=("a", "b"), discrete=("c", "d"), cardinalities=(3, 4))
STATISTICS = RealStatistics(
    mean=np.array([1.0, -2.0], dtype=np.float32), scale=np.array([2.0, 0.5], dtype=np.float32)
)


def some_tokens() -> FeatureTokens:
    torch.manual_seed(0)
    tokens = FeatureTokens(LAYOUT, width=5, statistics=STATISTICS)
    with torch.no_grad():
        tokens.missing_RD.normal_()
        tokens.embedding_VD.normal_()
    return tokens


def tokens_of(tokens: FeatureTokens, real: list[float], codes: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return tokens(torch.tensor([real]), torch.tensor([codes]))[0]


def test_the_task_token_stands_first_then_one_token_a_feature() -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [0.0, 0.0], [0, 0])

    assert found.shape == (LAYOUT.num_tokens, 5)
    assert torch.equal(found[0], tokens.task_D)


def test_a_real_value_is_standardised_times_its_direction_plus_its_bias() -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [4.0, -2.5], [0, 0])

    torch.testing.assert_close(found[1], tokens.bias_RD[0] + 1.5 * tokens.direction_RD[0])
    torch.testing.assert_close(found[2], tokens.bias_RD[1] - 1.0 * tokens.direction_RD[1])


def test_a_missing_value_has_an_embedding_of_its_own_and_is_not_the_mean() -> None:
    tokens = some_tokens()

    missing = tokens_of(tokens, [float("nan"), -2.0], [0, 0])
    mean = tokens_of(tokens, [1.0, -2.0], [0, 0])

    torch.testing.assert_close(missing[1], tokens.bias_RD[0] + tokens.missing_RD[0])
    torch.testing.assert_close(mean[1], tokens.bias_RD[0])
    assert torch.equal(missing[2], mean[2])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_infinite_value_is_as_far_out_as_a_token_goes(sign: float) -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [sign * float("inf"), 0.0], [0, 0])

    expected = tokens.bias_RD[0] + sign * FURTHEST * tokens.direction_RD[0]
    torch.testing.assert_close(found[1], expected)


def test_a_code_finds_its_row_behind_those_of_the_features_before() -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [0.0, 0.0], [2, 1])

    torch.testing.assert_close(found[3], tokens.bias_ND[0] + tokens.embedding_VD[2])
    torch.testing.assert_close(found[4], tokens.bias_ND[1] + tokens.embedding_VD[3 + 1])


def test_what_training_never_saw_reads_as_the_features_bias() -> None:
    tokens = FeatureTokens(LAYOUT, width=5, statistics=STATISTICS)

    found = tokens_of(tokens, [float("nan"), float("nan")], [2, 3])

    torch.testing.assert_close(found[1:], torch.cat([tokens.bias_RD, tokens.bias_ND]))


@pytest.mark.parametrize(
    "layout",
    [
        TokenLayout(real=("a",), discrete=(), cardinalities=()),
        TokenLayout(real=(), discrete=("c",), cardinalities=(3,)),
    ],
)
def test_a_feature_set_may_be_all_real_or_all_discrete(layout: TokenLayout) -> None:
    num_real = len(layout.real)
    statistics = statistics_of(np.zeros((4, num_real), dtype=np.float32))
    tokens = FeatureTokens(layout, width=5, statistics=statistics)

    found = tokens(
        torch.zeros(6, num_real), torch.zeros(6, len(layout.discrete), dtype=torch.int64)
    )

    assert found.shape == (6, 2, 5)


def test_statistics_leave_out_missing_and_infinite_values() -> None:
    column = np.array([1.0, np.nan, 3.0, np.inf, 5.0], dtype=np.float32)

    found = statistics_of(np.stack([column, np.full(5, np.nan, np.float32)], axis=1))

    np.testing.assert_allclose(found.mean, [3.0, 0.0])
    np.testing.assert_allclose(found.scale, [np.sqrt(8 / 3), 1.0])


def test_a_constant_feature_is_not_divided_by_its_rounding() -> None:
    constant = np.full((1000, 1), 0.1, dtype=np.float32)
    constant[0] = np.nextafter(np.float32(0.1), np.float32(1.0))

    assert statistics_of(constant).scale[0] == 1.0


def test_a_requests_value_is_brought_to_each_of_its_candidates() -> None:
    features = feature_set()
    batch = batch_of(
        a_request("r-1", num_candidates=2),
        a_request("r-2", user={"segment": "b"}, candidates=[a_candidate(9, price=None)]),
    )
    computed = compute_features(batch, features)

    inputs = inputs_from_features(computed, features, request_of=batch.keys.request_of("candidate"))

    layout = layout_of(features)
    assert layout.real == ("hour", "price", "seen")
    assert layout.discrete == ("segment", "advertiser", "price_bucket")
    assert layout.cardinalities == (8, 4, 5)
    np.testing.assert_array_equal(inputs.real[:, 0], np.float32([0, 0, 0]))
    np.testing.assert_array_equal(inputs.real[:, 1], np.float32([19.5, 19.5, np.nan]))
    np.testing.assert_array_equal(inputs.codes[:, 0], computed["segment"][[0, 0, 1]])
    assert computed["segment"][0] != computed["segment"][1]
    np.testing.assert_array_equal(inputs.codes[:, 1], [3, 3, 3])


@pytest.mark.parametrize("value", [-1, 8])
def test_a_code_outside_its_feature_is_refused_by_name(value: int) -> None:
    features = feature_set()
    batch = batch_of(a_request())
    computed = compute_features(batch, features) | {"segment": np.array([value], dtype=np.int32)}

    with pytest.raises(StackError, match="codes 0 to 7") as refused:
        inputs_from_features(computed, features, request_of=batch.keys.request_of("candidate"))

    assert refused.value.where == "features.segment"
