import numpy as np
import pytest
from numpy.typing import NDArray

from legacy.artifact import LegacyArtifact, open_artifact
from legacy.gbdt import LeafFinder, TreesConfig, grow_trees, trees_of
from legacy.trees import Trees
from tests.artifacts import write_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> LegacyArtifact:
    return open_artifact(write_artifact(tmp_path_factory.mktemp("gbdt") / "a", num_trees=8))


def walked(trees: Trees, features: NDArray[np.float32]) -> NDArray[np.int32]:
    """The plain twin of XGBoost's walk, in the words of docs/features.md."""
    found = np.empty((len(features), len(trees.trees)), dtype=np.int32)
    for place, tree in enumerate(trees.trees):
        ordinal = {int(node): i for i, node in enumerate(tree.leaf_nodes)}
        for row, values in enumerate(features):
            node = 0
            while tree.left[node] >= 0:
                value = values[tree.split_feature[node]]
                goes_left = (
                    tree.default_left[node] if np.isnan(value) else value < tree.threshold[node]
                )
                node = int(tree.left[node] if goes_left else tree.right[node])
            found[row, place] = ordinal[node]
    return found


def edge_rows(trees: Trees, seed: int = 0) -> NDArray[np.float32]:
    """Rows on thresholds, one ulp either side, missing and infinite."""
    rng = np.random.default_rng(seed)
    columns = []
    for points in trees.split_points():
        around = np.concatenate(
            [
                points,
                np.nextafter(points, np.float32(np.inf)),
                np.nextafter(points, np.float32(-np.inf)),
                np.float32([np.nan, np.inf, -np.inf, 0.0]),
            ]
        )
        columns.append(rng.choice(around, 400))
    return np.stack(columns, axis=1).astype(np.float32)


def test_leaves_are_those_of_a_plain_walk_on_every_side_of_every_threshold(
    artifact: LegacyArtifact,
) -> None:
    rows = edge_rows(artifact.trees)

    leaves = LeafFinder(artifact.model.booster, artifact.trees).leaves(rows)

    assert leaves.dtype == np.int32
    np.testing.assert_array_equal(leaves, walked(artifact.trees, rows))


def test_no_rows_have_no_leaves(artifact: LegacyArtifact) -> None:
    finder = LeafFinder(artifact.model.booster, artifact.trees)

    assert finder.leaves(np.zeros((0, 17), np.float32)).shape == (0, 8)


def test_the_same_rows_grow_the_same_trees() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    clicks = (features[:, 0] > 0.5).astype(np.float32)
    config = TreesConfig(num_trees=5)

    def grown(seed: int) -> bytes:
        return grow_trees(features, clicks, names=["a", "b", "c"], config=config, seed=seed)

    assert grown(1) == grown(1)
    assert grown(1) != grown(2)
    trees = trees_of(grown(1), ["a", "b", "c"], where="test")
    assert len(trees.trees) == 5
    assert "a" in trees.splits_on()


def test_split_points_are_the_thresholds_by_feature(artifact: LegacyArtifact) -> None:
    points = artifact.trees.split_points()

    assert len(points) == len(artifact.trees.feature_names)
    used = {n for n, own in zip(artifact.trees.feature_names, points, strict=True) if len(own)}
    assert used == artifact.trees.splits_on()
    assert all((np.diff(own) > 0).all() for own in points)
