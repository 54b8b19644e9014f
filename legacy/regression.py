"""The logistic regression on leaves and categories, in TensorFlow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from legacy.artifact import RegressionWeights


class Regression(tf.Module):  # type: ignore[misc]  # tensorflow comes without types
    """logit = bias + sum of leaf weights + sum of category weights, all in float32.

    Args:
        weights: As the artifact holds them.
        tree_limit: Leave out the leaves of later trees; None counts them all.
    """

    def __init__(self, weights: RegressionWeights, *, tree_limit: int | None = None) -> None:
        super().__init__(name="regression")
        self.leaf_weights = tf.Variable(weights.leaf_weights, name="leaf_weights")
        self.category_weights = tf.Variable(weights.category_weights, name="category_weights")
        self.bias = tf.Variable(weights.bias, dtype=tf.float32, name="bias")
        self._tree_limit = tree_limit

    def leaf_sum(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """[candidate, tree] columns of the leaf block to the sum of their weights."""
        return _float32(_summed(self.leaf_weights, columns[:, : self._tree_limit]))

    def category_sum(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """[candidate, feature] columns of the category block to the sum of their weights."""
        return _float32(_summed(self.category_weights, columns))

    def logit(
        self, leaf_sum: NDArray[np.float32], category_sum: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Bias plus both sums."""
        return _float32(_added(self.bias, leaf_sum, category_sum))


# Traced once for a process, whatever the number of rows, and shared by all its stacks.
_vector = tf.TensorSpec([None], tf.float32)
_summed = tf.function(
    lambda weights, columns: tf.reduce_sum(tf.gather(weights, columns), axis=1),
    input_signature=[_vector, tf.TensorSpec([None, None], tf.int64)],
)
_added = tf.function(
    lambda bias, leaf_sum, category_sum: bias + leaf_sum + category_sum,
    input_signature=[tf.TensorSpec([], tf.float32), _vector, _vector],
)


def _float32(values: tf.Tensor) -> NDArray[np.float32]:
    return np.asarray(values.numpy(), dtype=np.float32)


def train_regression(
    leaf_columns: NDArray[np.int64],
    category_columns: NDArray[np.int64],
    clicks: NDArray[np.float32],
    *,
    leaf_offsets: NDArray[np.int64],
    num_categories: int,
    l2: float,
    steps: int,
    learning_rate: float,
) -> RegressionWeights:
    """Fit all weights by penalised likelihood; the same input, the same weights.

    Args:
        leaf_columns: [candidate, tree], of candidates that grew no tree.
        category_columns: [candidate, feature].
        clicks: [candidate], 0 or 1.
        leaf_offsets: [tree + 1].
        num_categories: Columns of the category block.
        l2: As in `legacy.train.RegressionConfig`, like the following two.
        steps: Of Adam.
        learning_rate: Of Adam, at the start.
    """
    fix_tensorflow_threads()
    rate = float(np.clip(clicks.mean(), 1e-6, 1 - 1e-6))
    bias = tf.Variable(np.float32(np.log(rate / (1 - rate))))
    leaf_weights = tf.Variable(np.zeros(int(leaf_offsets[-1]), dtype=np.float32))
    category_weights = tf.Variable(np.zeros(num_categories, dtype=np.float32))
    variables = [bias, leaf_weights, category_weights]
    optimiser = tf.keras.optimizers.Adam(
        tf.keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    )
    optimiser.build(variables)
    leaves, categories = tf.constant(leaf_columns), tf.constant(category_columns)
    labels = tf.constant(clicks)

    def step() -> None:
        with tf.GradientTape() as tape:
            logits = (
                bias
                + tf.reduce_sum(tf.gather(leaf_weights, leaves), axis=1)
                + tf.reduce_sum(tf.gather(category_weights, categories), axis=1)
            )
            surprise = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            penalty = tf.reduce_sum(leaf_weights**2) + tf.reduce_sum(category_weights**2)
            loss = tf.reduce_sum(surprise) + 0.5 * l2 * penalty
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        optimiser.apply_gradients(zip(gradients, variables, strict=True))

    compiled = tf.function(step)
    for _ in range(steps):
        compiled()
    return RegressionWeights(
        leaf_weights=_settled(leaf_weights),
        leaf_offsets=leaf_offsets,
        category_weights=_settled(category_weights),
        bias=np.float32(bias.numpy()),
    )


def fix_tensorflow_threads() -> None:
    """One thread: the order of additions, and with it the last bits, stay the same."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has started: the thread variables of the process decided.
        return


def _settled(weights: tf.Variable) -> NDArray[np.float32]:
    """The weights, with those that never left zero's neighbourhood exactly zero.

    TensorFlow flushes denormal numbers to zero; other translations may not.
    """
    values = np.asarray(weights.numpy(), dtype=np.float32)
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), values)
