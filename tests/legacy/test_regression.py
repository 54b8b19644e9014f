import numpy as np
import pytest

from legacy.artifact import RegressionWeights
from legacy.checkpoints import sum_bound
from legacy.regression import Regression, train_regression


def random_weights(seed: int, *, scale: float = 1.0) -> RegressionWeights:
    rng = np.random.default_rng(seed)
    return RegressionWeights(
        leaf_weights=(rng.normal(size=120 * 16) * scale).astype(np.float32),
        leaf_offsets=np.arange(0, 120 * 16 + 1, 16),
        category_weights=(rng.normal(size=300) * scale).astype(np.float32),
        bias=np.float32(-4.25),
    )


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_sums_keep_their_bound_against_float64(scale: float) -> None:
    weights = random_weights(1, scale=scale)
    rng = np.random.default_rng(2)
    leaves = rng.integers(0, 16, size=(500, 120)) + weights.leaf_offsets[:-1]
    categories = rng.integers(0, 300, size=(500, 12))
    model = Regression(weights)

    leaf_sum = model.leaf_sum(leaves)
    category_sum = model.category_sum(categories)
    logit = model.logit(leaf_sum, category_sum)

    assert leaf_sum.dtype == category_sum.dtype == logit.dtype == np.float32
    for found, own, columns in (
        (leaf_sum, weights.leaf_weights, leaves),
        (category_sum, weights.category_weights, categories),
    ):
        exact = own.astype(np.float64)[columns]
        bound = sum_bound(columns.shape[1], np.abs(own).astype(np.float64).max() * len(exact[0]))
        assert np.abs(found - exact.sum(axis=1)).max() <= bound
    exact = float(weights.bias) + leaf_sum.astype(np.float64) + category_sum
    terms = abs(float(weights.bias)) + np.abs(leaf_sum) + np.abs(category_sum)
    assert (np.abs(logit - exact) <= sum_bound(2, 1.0) * terms).all()


def test_the_bound_of_a_sum_is_gamma_n() -> None:
    assert sum_bound(1, 1.0) == 2**-24 / (1 - 2**-24)
    assert sum_bound(100, 3.0) == pytest.approx(3 * 100 * 2**-24, rel=1e-4)
    assert sum_bound(0, 3.0) == 0


def test_later_trees_are_left_out_beyond_the_limit() -> None:
    weights = random_weights(3)
    leaves = np.zeros((2, 120), dtype=np.int64) + weights.leaf_offsets[:-1]

    limited = Regression(weights, tree_limit=110).leaf_sum(leaves)

    expected = weights.leaf_weights[leaves[0, :110]].astype(np.float64).sum()
    assert limited == pytest.approx(expected, abs=1e-4)
    assert abs(limited[0] - Regression(weights).leaf_sum(leaves)[0]) > 1e-2


def test_no_rows_have_no_sums() -> None:
    model = Regression(random_weights(1))

    assert model.leaf_sum(np.zeros((0, 120), np.int64)).shape == (0,)
    assert model.logit(np.zeros(0, np.float32), np.zeros(0, np.float32)).shape == (0,)


def test_training_finds_the_leaf_and_the_category_that_click() -> None:
    rng = np.random.default_rng(5)
    leaves = rng.integers(0, 2, size=(2000, 2)) + np.array([0, 2])
    categories = rng.integers(0, 3, size=(2000, 1))
    log_odds = -1.0 + 2.0 * (leaves[:, 0] == 1) - 2.0 * (categories[:, 0] == 2)
    clicks = (rng.random(2000) < 1 / (1 + np.exp(-log_odds))).astype(np.float32)

    def trained(l2: float) -> RegressionWeights:
        return train_regression(
            leaves, categories, clicks,
            leaf_offsets=np.array([0, 2, 4]), num_categories=4, l2=l2, steps=150,
            learning_rate=0.05,
        )  # fmt: skip

    weights = trained(1.0)

    difference = weights.leaf_weights[1] - weights.leaf_weights[0]
    assert difference == pytest.approx(2.0, abs=0.4)
    others = weights.category_weights[:2].mean()
    assert weights.category_weights[2] - others == pytest.approx(-2.0, abs=0.5)
    assert abs(weights.leaf_weights[3] - weights.leaf_weights[2]) < 0.4
    assert weights.category_weights[3] == 0  # never seen
    again = trained(1.0)
    np.testing.assert_array_equal(again.leaf_weights, weights.leaf_weights)
    assert again.bias == weights.bias
    assert np.abs(trained(1000.0).leaf_weights).max() < 0.3 * np.abs(weights.leaf_weights).max()
