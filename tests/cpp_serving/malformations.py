"""What can be wrong with a model file, and how it is put into a sound one of each format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.cpp_serving.malformed import Text, header_of, nodes_of, tree_of

READERS = ("json", "ubjson", "lightgbm", "artifact")
# What to do about a damaged file, and about a sound one that can not be scored here.
DAMAGED = r"save the model again|export it again"
UNKNOWN = r"score it with the library that wrote it|export it with the version"
NAN = float("nan")
INFINITY = float("inf")
Edit = Callable[[Any], object]
Said = tuple[str, str]  # Patterns: what is wrong, and where.

# Where the first tree stands in each file.
TREE = {
    "xgboost": r"learner\.gradient_booster\.model\.trees\[0\]",
    "lightgbm": "line 12",
    "artifact": "section 'trees'",
}


@dataclass(frozen=True, kw_only=True)
class Malformation:
    """One thing that is wrong.

    Attributes:
        xgboost, lightgbm, artifact: Puts it into a sound file; a string says why it has none.
        said: By format, what is wrong and where; JSON and UBJSON say the same.
        fix: What to do.
    """

    xgboost: Edit | str
    lightgbm: Edit | str
    artifact: Edit | str
    said: dict[str, Said] = field(default_factory=dict)
    fix: str = DAMAGED

    def edit(self, reader: str) -> Edit | str:
        found: Edit | str = getattr(self, "xgboost" if "json" in reader else reader)
        return found


def put(part: str, place: int, value: object) -> Edit:
    """A number of XGBoost's first tree."""
    return lambda model: tree_of(model)[part].__setitem__(place, value)


def no_parents(model: Any) -> None:
    """Files of other versions have none, so nothing but the walk can tell."""
    tree_of(model)["parents"] = []


def leaf(value: float) -> Edit:
    def edit(model: Any) -> None:
        tree = tree_of(model)
        tree["split_conditions"][tree["left_children"].index(-1)] = value

    return edit


def word(key: str, place: int, value: object) -> Edit:
    """A word of a line of LightGBM's."""
    return lambda text: text.put(key, place, value)


def swap(old: str, new: str) -> Edit:
    return lambda text: text.replace(old, new)


def node(place: int, column: int, value: int) -> Edit:
    """A word of a node of the artifact: 0 the threshold's bits, 1 the feature, 2 the left child."""
    return lambda file: nodes_of(file).__setitem__((place, column), value)


def head(section: str, place: int, value: int) -> Edit:
    return lambda file: header_of(file, section).__setitem__(place, value)


def weight(value: float) -> Edit:
    return lambda file: file.values("leaf_weights", "<f4").__setitem__(0, value)


def all_of(*edits: Edit) -> Edit:
    return lambda file: [edit(file) for edit in edits]


def of_model(**members: str) -> Edit:
    return lambda model: model["learner"]["learner_model_param"].update(members)


def booster_of(model: Any) -> Any:
    return model["learner"]["gradient_booster"]["model"]


def without_trees(text: Text) -> None:
    text.text = text.text[: text.text.index("Tree=0")] + text.text.partition("end of trees")[2]


def trees(what: str, *, lightgbm: str = "", artifact: str = "") -> dict[str, Said]:
    """What is said of the first tree."""
    says = {"xgboost": what, "lightgbm": lightgbm or what, "artifact": artifact}
    return {reader: (says[reader], TREE[reader]) for reader in says}


LEAF, MISSING_RIGHT = 0xFFFFFFFF, 0x7FFFFFFF
OUT_OF_PLACE = "tree 0: the children of node {} are out of place"
ENDS = "it ends before what it says it holds"
SIZES = "learner.learner_model_param"
MALFORMATIONS: dict[str, Malformation] = {
    "a child that is not there": Malformation(
        xgboost=put("left_children", 0, 9999),
        lightgbm=word("left_child", 0, 9999),
        artifact=node(0, 2, 9999),
        said=trees("child is node 9999, and the tree has 29", lightgbm="node 0 has the child 9999",
                   artifact=OUT_OF_PLACE.format(0)),
    ),
    "a negative child": Malformation(
        xgboost=put("right_children", 0, -7),
        lightgbm=word("right_child", 0, -9999),
        artifact=node(0, 2, 0xFFFFFFF9),
        said=trees("child is node -7", lightgbm="node 0 has the child -9999",
                   artifact=OUT_OF_PLACE.format(0)),
    ),
    "a cycle": Malformation(
        xgboost=all_of(put("left_children", 1, 0), no_parents),
        lightgbm=word("left_child", 0, 0),
        artifact=node(1, 2, 0),
        said=trees("node 0, is on another path already: a cycle", artifact=OUT_OF_PLACE.format(1)),
    ),
    "a child of two parents": Malformation(
        xgboost=all_of(put("left_children", 2, 3), put("right_children", 2, 4), no_parents),
        lightgbm=all_of(word("left_child", 0, 2), word("right_child", 0, 2)),
        artifact=node(2, 2, 3),
        said=trees("is on another path already: a cycle, or a child of two parents",
                   artifact=OUT_OF_PLACE.format(2)),
    ),
    "nodes on no path": Malformation(
        xgboost=all_of(put("left_children", 0, -1), put("right_children", 0, -1)),
        lightgbm=all_of(word("left_child", 0, -1), word("right_child", 0, -2)),
        artifact=all_of(node(0, 1, LEAF), node(0, 2, 0)),
        said=trees("nodes are on no path from the root", artifact=OUT_OF_PLACE.format(1)),
    ),
    "siblings swapped": Malformation(
        xgboost=all_of(put("left_children", 0, 2), put("right_children", 0, 1)),
        lightgbm="it names both children, in whatever order: exchanged they are another sound model",
        artifact=node(0, 2, 2),
        said=trees("not the one after node 2, .*: siblings swapped", artifact=OUT_OF_PLACE.format(0)),
    ),
    "a bad split index": Malformation(
        xgboost=put("split_indices", 0, 600),
        lightgbm=word("split_feature", 0, 600),
        artifact=node(0, 1, 600),
        said=trees("splits feature 600, and there are 6: a bad split index",
                   artifact="tree 0: node 0 splits a feature that is not there"),
    ),
    "a negative split index": Malformation(
        xgboost=put("split_indices", 0, -1),
        lightgbm=word("split_feature", 0, -1),
        artifact=node(0, 1, MISSING_RIGHT),  # Without the bit of missing values, the largest.
        said=trees("node 0 splits feature -1.*: a bad split index",
                   artifact="tree 0: node 0 splits a feature that is not there"),
    ),
    "a threshold that is NaN": Malformation(
        xgboost=put("split_conditions", 0, NAN),
        lightgbm=word("threshold", 0, "nan"),
        artifact=node(0, 0, int(np.float32(NAN).view(np.uint32))),
        said=trees("its threshold is no number", artifact="tree 0: node 0 has no threshold"),
    ),
    "a leaf that is NaN": Malformation(
        xgboost=leaf(NAN),
        lightgbm=word("leaf_value", 0, "nan"),
        artifact=weight(NAN),
        said=trees("its leaf value is not finite")
        | {"artifact": ("weight 0 is not finite", "section 'leaf_weights'")},
    ),
    "a leaf that is infinite": Malformation(
        xgboost=leaf(INFINITY),
        lightgbm=word("leaf_value", 0, "inf"),
        artifact=weight(INFINITY),
        said=trees("its leaf value is not finite")
        | {"artifact": ("weight 0 is not finite", "section 'leaf_weights'")},
    ),
    "one leaf's number twice": Malformation(
        xgboost="a leaf is known by its node, which has one id",
        lightgbm=all_of(word("left_child", 0, -1), word("right_child", 0, -1)),
        artifact=lambda file: nodes_of(file)[:, 2].__setitem__(
            np.flatnonzero(nodes_of(file)[:, 1] == LEAF)[1], 0
        ),
        said=trees("", lightgbm="is on another path already",
                   artifact="tree 0: leaf ordinal 0 is out of range or there twice"),
    ),
    "a huge count of nodes": Malformation(
        xgboost=lambda model: tree_of(model)["tree_param"].update(num_nodes="4000000000"),
        lightgbm=word("num_leaves", 0, 4000000000),
        artifact=head("trees", 2, 4000000000),
        said=trees("says there are 4000000000 nodes", lightgbm="num_leaves is 4000000000",
                   artifact=ENDS),
    ),
    "a huge count of trees": Malformation(
        xgboost=lambda model: booster_of(model)["gbtree_model_param"].update(num_trees="1000000000"),
        lightgbm=swap("tree_sizes=", "tree_sizes=1 1 1 "),
        artifact=head("trees", 0, 4000000000),
        said={"xgboost": ("gbtree_model_param says 1000000000", "learner.gradient_booster.model"),
              "lightgbm": ("3 trees, where tree_sizes lists 6", "line 1"),
              "artifact": (ENDS, "section 'trees'")},
    ),
    "a huge count of features": Malformation(
        xgboost=of_model(num_feature="99999999999"),
        lightgbm=word("max_feature_idx", 0, 99999999999),
        artifact=head("program", 0, 4000000000),
        said={"xgboost": ("it has 99999999999 features", SIZES),
              "lightgbm": ("max_feature_idx is 99999999999, more than any", "line 1"),
              "artifact": (ENDS, "section 'program'")},
    ),
    "a huge count of outputs": Malformation(
        xgboost=of_model(num_class="2000000000"),
        lightgbm=word("num_tree_per_iteration", 0, 99999999999),
        artifact="it has one output",
        said={"xgboost": ("2000000000 outputs, and has 3 trees", SIZES),
              "lightgbm": ("num_tree_per_iteration is 99999999999", "line 1")},
    ),
    "a huge count of leaves": Malformation(
        xgboost="it counts nodes",
        lightgbm="as of nodes",
        artifact=head("trees", 3, 4000000000),
        said=trees("", artifact="its counts do not fit each other"),
    ),
    "a huge count of names": Malformation(
        xgboost=lambda model: model["learner"].update(feature_names=["a"] * 100_000),
        lightgbm=swap("feature_names=", "feature_names=" + "a " * 100_000),
        artifact=head("names", 0, 4000000000),
        said={"xgboost": ("100000 feature names for 6", "learner.feature_names"),
              "lightgbm": ("100006 feature names for 6", "line 1"),
              "artifact": (ENDS, "section 'names'")},
    ),
    "a negative count": Malformation(
        xgboost=of_model(num_feature="-6"),
        lightgbm=word("max_feature_idx", 0, -6),
        artifact=head("trees", 1, 0xFFFFFFFA),
        said={"xgboost": ("'-6' is no whole number from 0", f"{SIZES}.num_feature"),
              "lightgbm": ("max_feature_idx is '-6', no whole number from 0", "line 1"),
              "artifact": ("its counts do not fit each other, the features", "section 'trees'")},
    ),
    "parts of other sizes": Malformation(
        xgboost=lambda model: tree_of(model)["default_left"].pop(),
        lightgbm=swap("\nthreshold=", "\nthreshold=1 "),
        artifact=head("trees", 5, 1),  # Where the second tree begins.
        said=trees("the tree's parts are missing, or of other sizes",
                   lightgbm="parts of a tree of 22 leaves are of other sizes",
                   artifact="tree 0: the children of node 0 are out of place"),
    ),
    "a part that is missing": Malformation(
        xgboost=lambda model: tree_of(model).pop("right_children"),
        lightgbm=swap("\nright_child=", "\nwrong_child="),
        artifact="a section is one piece; sections that are missing: test_artifact.py",
        said=trees("parts are missing, or of other sizes", lightgbm="there is no line 'right_child'"),
    ),
    "a word for a number": Malformation(
        xgboost=put("left_children", 0, "one"),
        lightgbm=word("left_child", 0, "one"),
        artifact="it holds no text where numbers are",
        said=trees("a whole number is expected", lightgbm="left_child holds 'one', no whole number"),
    ),
    "no trees": Malformation(
        xgboost=lambda model: booster_of(model)["trees"].clear(),
        lightgbm=without_trees,
        artifact=head("trees", 0, 0),
        said={"xgboost": ("the model has no trees", "learner.gradient_booster.model"),
              "lightgbm": ("no tree comes after it", "line 1"),
              "artifact": ("its counts do not fit", "section 'trees'")},
    ),
    "a later version": Malformation(
        xgboost=lambda model: model.update(version=[4, 0, 0]),
        lightgbm=swap("version=v4", "version=v9"),
        artifact=lambda file: file._data.__setitem__(slice(8, 9), b"\2"),
        said={"xgboost": ("written by XGBoost 4.0.0: those of up to 3.x are read", "version"),
              "lightgbm": ("the format is 'v9': v2, v3 and v4 are read", "line 1"),
              "artifact": ("the file is of version 2, this scorer reads version 1", "stranger.model")},
        fix=UNKNOWN,
    ),
    "an unknown objective": Malformation(
        xgboost=lambda model: model["learner"]["objective"].update(name="reg:mine"),
        lightgbm=swap("objective=binary", "objective=mine"),
        artifact="it has one objective",
        said={"xgboost": ("'reg:mine', whose prediction is not known", "learner.objective"),
              "lightgbm": ("'mine', whose prediction is not known", "line 1")},
        fix=UNKNOWN,
    ),
}  # fmt: skip
