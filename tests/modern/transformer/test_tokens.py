from __future__ import annotations

import numpy as np
import pytest
import torch

from modern.features.feature_set import feature_set_from_json
from modern.transformer.config import AGE_EDGES_HOURS
from modern.transformer.layout import SideLayout, TokenLayout, layout_of
from modern.transformer.tokens import (
    FURTHEST,
    AgeBuckets,
    CodeTable,
    FeatureTokens,
    RealStatistics,
    StepTokens,
    plain_statistics,
    statistics_of,
)
from replay.errors import ConfigError
from tests.modern.small_transformer import feature_set, features_json

SIDE = SideLayout(real=("a", "b"), discrete=("c", "d"), cardinalities=(3, 4), first_codes=(0, 3))
LAYOUT = TokenLayout(request=SideLayout(), candidate=SIDE, step=SIDE, num_codes=7)
STATISTICS = RealStatistics(
    mean=np.array([1.0, -2.0], dtype=np.float32), scale=np.array([2.0, 0.5], dtype=np.float32)
)


def some_tokens() -> FeatureTokens:
    torch.manual_seed(0)
    tokens = FeatureTokens(SIDE, width=5, statistics=STATISTICS)
    with torch.no_grad():
        tokens.real.missing_RD.normal_()
    return tokens


def some_codes() -> CodeTable:
    torch.manual_seed(1)
    codes = CodeTable(LAYOUT, width=5)
    with torch.no_grad():
        codes.embedding_VD.normal_()
    return codes


def tokens_of(tokens: FeatureTokens, real: list[float], codes: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return tokens(torch.tensor([real]), some_codes()(torch.tensor([codes]), "candidate"))[0]


def test_the_token_of_the_whole_row_stands_first_then_one_a_feature() -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [0.0, 0.0], [0, 0])

    assert found.shape == (5, 5)
    assert torch.equal(found[0], tokens.whole_D)


def test_a_real_value_is_standardised_times_its_direction_plus_its_bias() -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [4.0, -2.5], [0, 0])

    values = tokens.real
    torch.testing.assert_close(found[1], values.bias_RD[0] + 1.5 * values.direction_RD[0])
    torch.testing.assert_close(found[2], values.bias_RD[1] - 1.0 * values.direction_RD[1])


def test_a_missing_value_has_an_embedding_of_its_own_and_is_not_the_mean() -> None:
    tokens = some_tokens()

    missing = tokens_of(tokens, [float("nan"), -2.0], [0, 0])
    mean = tokens_of(tokens, [1.0, -2.0], [0, 0])

    torch.testing.assert_close(missing[1], tokens.real.bias_RD[0] + tokens.real.missing_RD[0])
    torch.testing.assert_close(mean[1], tokens.real.bias_RD[0])
    assert torch.equal(missing[2], mean[2])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_infinite_value_is_as_far_out_as_a_token_goes(sign: float) -> None:
    tokens = some_tokens()

    found = tokens_of(tokens, [sign * float("inf"), 0.0], [0, 0])

    expected = tokens.real.bias_RD[0] + sign * FURTHEST * tokens.real.direction_RD[0]
    torch.testing.assert_close(found[1], expected)


def test_a_code_finds_its_row_behind_those_of_the_features_before() -> None:
    tokens, codes = some_tokens(), some_codes()

    found = tokens_of(tokens, [0.0, 0.0], [2, 1])

    torch.testing.assert_close(found[3], tokens.bias_ND[0] + codes.embedding_VD[2])
    torch.testing.assert_close(found[4], tokens.bias_ND[1] + codes.embedding_VD[3 + 1])


def test_what_training_never_saw_reads_as_the_features_bias() -> None:
    tokens = FeatureTokens(SIDE, width=5, statistics=STATISTICS)
    untrained = CodeTable(LAYOUT, width=5)

    found = tokens(
        torch.full((1, 2), float("nan")), untrained(torch.tensor([[2, 3]]), "candidate")
    )[0]

    torch.testing.assert_close(found[1:], torch.cat([tokens.real.bias_RD, tokens.bias_ND]))


@pytest.mark.parametrize(
    "side",
    [
        SideLayout(real=("a",)),
        SideLayout(discrete=("c",), cardinalities=(3,), first_codes=(0,)),
        SideLayout(),
    ],
)
def test_a_side_may_be_all_real_or_all_discrete_or_have_no_feature(side: SideLayout) -> None:
    layout = TokenLayout(request=side, candidate=side, step=side, num_codes=3)
    statistics = plain_statistics(layout).request
    codes = torch.zeros(6, len(side.discrete), dtype=torch.int64)

    found = FeatureTokens(side, width=5, statistics=statistics)(
        torch.zeros(6, len(side.real)), CodeTable(layout, width=5)(codes, "request")
    )

    assert found.shape == (6, 1 + side.num_features, 5)


def test_a_step_is_the_sum_of_its_features_and_its_age() -> None:
    torch.manual_seed(2)
    steps = StepTokens(SIDE, width=5, statistics=STATISTICS, edge_hours=(1.0, 24.0))
    codes = some_codes()
    with torch.no_grad():
        steps.age_embedding_AD.normal_()

    found = steps(
        torch.tensor([[[4.0, -2.0]]]),
        codes(torch.tensor([[[2, 1]]]), "step"),
        torch.tensor([[5.0]]),
    )[0, 0]

    real = steps.real.bias_RD.sum(0) + 1.5 * steps.real.direction_RD[0]
    embedded = codes.embedding_VD[2] + codes.embedding_VD[3 + 1]
    torch.testing.assert_close(found, steps.bias_D + real + embedded + steps.age_embedding_AD[2])


def test_an_age_that_equals_an_edge_has_reached_it_and_an_unknown_one_has_a_bucket_of_its_own() -> (
    None
):
    buckets = AgeBuckets(AGE_EDGES_HOURS)
    hour = AGE_EDGES_HOURS.index(1.0)
    below = np.nextafter(np.float32(1), np.float32(0))

    found = buckets(torch.tensor([[float("nan"), 0.0, float(below), 1.0, 1e9]]))

    assert found.tolist() == [[0, 1, hour + 1, hour + 2, len(AGE_EDGES_HOURS) + 1]]
    assert found.max() == buckets.num_buckets


def test_statistics_leave_out_missing_and_infinite_values() -> None:
    column = np.array([1.0, np.nan, 3.0, np.inf, 5.0], dtype=np.float32)

    found = statistics_of(np.stack([column, np.full(5, np.nan, np.float32)], axis=1))

    np.testing.assert_allclose(found.mean, [3.0, 0.0])
    np.testing.assert_allclose(found.scale, [np.sqrt(8 / 3), 1.0])


def test_a_constant_feature_is_not_divided_by_its_rounding() -> None:
    constant = np.full((1000, 1), 0.1, dtype=np.float32)
    constant[0] = np.nextafter(np.float32(0.1), np.float32(1.0))

    assert statistics_of(constant).scale[0] == 1.0


def test_each_feature_belongs_to_one_side_and_a_like_one_shares_its_rows() -> None:
    layout = layout_of(feature_set())

    assert layout.request.names == ("hour", "segment")
    assert layout.candidate.names == ("price", "seen", "advertiser", "price_bucket")
    assert layout.step.names == ("history.ad", "history.action", "history.brand")
    assert layout.candidate.first_codes == (8, 12)
    assert layout.step.first_codes == (17, 8)
    assert layout.num_codes == 21


def test_a_feature_set_without_a_feature_of_the_candidate_is_refused() -> None:
    value = features_json()
    value["features"] = value["features"][:2]
    value["history"] = []

    with pytest.raises(ConfigError, match="no feature of the set is of the candidate"):
        layout_of(feature_set_from_json(value, where="a test"))
