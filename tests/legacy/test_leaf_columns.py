import numpy as np
import pytest

from legacy.leaf_columns import CategoryColumns, LeafOrdinals, columns_from_leaves
from legacy.trees import Tree, Trees
from replay.errors import ArtifactError, StackError
from tests.artifacts import feature_set


def tree(left: list[int], right: list[int]) -> Tree:
    count = len(left)
    return Tree(
        left=np.array(left),
        right=np.array(right),
        split_feature=np.zeros(count, dtype=np.int64),
        threshold=np.zeros(count, dtype=np.float32),
        default_left=np.zeros(count, dtype=np.bool_),
    )


# 0 -> (1, 2); 1 -> (3, 4): leaves 2, 3 and 4. And one that is a leaf alone.
TREES = Trees(
    feature_names=("x",),
    trees=(tree([1, 3, -1, -1, -1], [2, 4, -1, -1, -1]), tree([-1], [-1])),
)


def test_leaves_are_numbered_from_0_by_ascending_node_id() -> None:
    ordinals = LeafOrdinals(TREES).from_node_ids(np.array([[2, 0], [3, 0], [4, 0]]))

    assert ordinals.dtype == np.int32
    assert ordinals.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert TREES.leaf_offsets.tolist() == [0, 3, 4]


@pytest.mark.parametrize("node_ids", [[[1, 0]], [[5, 0]], [[-1, 0]], [[2, 1]], [[2]], [[2, 0, 0]]])
def test_a_node_that_is_no_leaf_is_refused(node_ids: list[list[int]]) -> None:
    with pytest.raises(ArtifactError, match=r"a leaf that booster\.json does not have"):
        LeafOrdinals(TREES).from_node_ids(np.array(node_ids))


def test_a_tree_owns_the_columns_after_those_of_the_trees_before() -> None:
    columns = columns_from_leaves(np.array([[2, 0], [0, 0]], np.int32), TREES.leaf_offsets)

    assert columns.tolist() == [[2, 3], [0, 3]]


@pytest.mark.parametrize("leaf", [-1, 3])
def test_a_leaf_outside_its_tree_is_refused(leaf: int) -> None:
    with pytest.raises(StackError, match=f"leaf {leaf} lies outside tree 0, which has 3"):
        columns_from_leaves(np.array([[0, 0], [leaf, 0]], np.int32), TREES.leaf_offsets)


CATEGORIES = CategoryColumns(
    feature_set(
        [
            {"name": "b", "kind": "bucket", "source": "user.x", "edges": [1.0]},
            {"name": "n", "kind": "number", "source": "user.x"},
            {"name": "ad", "kind": "id", "source": "user.y", "vocabulary": [3, 2**53 + 1]},
            {"name": "h", "kind": "hash", "sources": ["user.z"], "seed": 0, "buckets": 4,
             "normalise": "none"},
        ],
        money=None,
    )
)  # fmt: skip


def test_a_category_follows_the_cardinalities_before_it() -> None:
    assert CATEGORIES.num_columns == 3 + 3 + 4
    assert CATEGORIES.encode("b", np.array([0, 1, 2], np.int32)).tolist() == [0, 1, 2]
    assert CATEGORIES.encode("h", np.array([0, 3], np.int32)).tolist() == [6, 9]


def test_an_id_has_its_place_in_the_vocabulary_plus_1_and_an_unknown_one_0() -> None:
    ids = np.array([3, 2**53 + 1, 2**53, 2**53 + 2, -1, 0], np.int64)

    encoded = CATEGORIES.encode("ad", ids)

    assert encoded.dtype == np.int32
    assert (encoded - 3).tolist() == [1, 2, 0, 0, 0, 0]


def test_values_outside_a_block_are_refused() -> None:
    with pytest.raises(StackError, match="'b' lies outside 0 to 2"):
        CATEGORIES.encode("b", np.array([3], np.int32))
    with pytest.raises(StackError, match="outside 0 to 9"):
        CATEGORIES.stacked([np.array([10], np.int32)])
