"""The engines that are timed beside ours, each where it is installed.

Every opener returns a call from float32 [row, feature] to [row] probabilities. `value` engines
compute the model's value themselves; `leaf` engines find the leaves, and a regression on them, as a
separate step, gives the value: what the serving stack that we replace does. `other` engines score
models of their own of the same size (other_models.py): what one would get by training those.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from shapes import Shape, base_margin, leaf_values, trained

Predict = Callable[[NDArray[np.float32]], NDArray[Any]]
Kind = Literal["ours", "value", "leaf", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A way to score."""

    name: str
    kind: Kind
    version: str
    predict: Predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """An engine that was not measured."""

    name: str
    why: str


def engines(shape: Shape, *, threads: int) -> Iterator[Engine | Absent]:
    """Ours first, then every peer, or why it is not there."""
    from other_models import catboost_value, lightgbm_value, lleaves_value

    folder = trained(shape)
    model = json.loads((folder / "booster.json").read_bytes())
    yield from _ours(folder, threads)
    openers: tuple[tuple[str, Kind, str, Callable[[], Predict]], ...] = (
        ("daal4py", "value", "scikit-learn-intelex", lambda: _daal4py(folder, threads)),
        ("XGBoost inplace_predict", "value", "xgboost-cpu", lambda: _value(folder, threads)),
        ("ONNX Runtime", "value", "onnxruntime", lambda: _onnxruntime(model, threads)),
        ("tl2cgen", "value", "tl2cgen", lambda: _tl2cgen(folder, threads)),
        ("XGBoost leaves + numpy LR", "leaf", "xgboost-cpu", lambda: _leaves(folder, model, threads)),
        (
            "XGBoost leaves + TensorFlow LR", "leaf", "tensorflow-cpu",
            lambda: _tensorflow(folder, model, threads),
        ),
        ("treelite leaves + numpy LR", "leaf", "treelite", lambda: _treelite(folder, model, threads)),
        ("LightGBM", "other", "lightgbm", lambda: lightgbm_value(shape, threads)),
        ("lleaves (LightGBM)", "other", "lleaves", lambda: lleaves_value(shape, threads)),
        ("CatBoost", "other", "catboost", lambda: catboost_value(shape, threads)),
    )  # fmt: skip
    for name, kind, package, opener in openers:
        try:
            predict = opener()
        except (ImportError, NotImplementedError) as error:
            yield Absent(name=name, why=str(error).splitlines()[0])
        else:
            yield Engine(name=name, kind=kind, version=version(package), predict=predict)


def _ours(folder: Path, threads: int) -> Iterator[Engine]:
    from cpp_serving._core import Scorer

    for kernel in reversed(Scorer.kernels()):
        scorer = Scorer(folder / "scorer.bin", kernel=kernel, threads=threads)
        yield Engine(
            name=f"ours, {kernel}",
            kind="ours",
            version=version("parity-replay"),
            predict=scorer.score,
        )


def _probability(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-margin))


def _booster(folder: Path, threads: int) -> Any:
    import xgboost

    booster = xgboost.Booster(model_file=folder / "booster.json")
    booster.set_param({"nthread": threads})
    return booster


def _value(folder: Path, threads: int) -> Predict:
    booster = _booster(folder, threads)
    return lambda rows: booster.inplace_predict(rows, validate_features=False)


def _by_node_id(model: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The regression over node ids: where each tree's weights start, and the weights."""
    weights = []
    for tree, values in zip(
        model["learner"]["gradient_booster"]["model"]["trees"], leaf_values(model), strict=True
    ):
        of_node = np.zeros(len(tree["left_children"]), dtype=np.float32)
        of_node[np.flatnonzero(np.array(tree["left_children"]) < 0)] = values
        weights.append(of_node)
    starts = np.cumsum([0, *(len(w) for w in weights)])[:-1]
    return starts, np.concatenate(weights)


def _columns(folder: Path, threads: int, starts: NDArray[np.int64]) -> Predict:
    """[row, tree]: the regression's column of each leaf that XGBoost finds."""
    import xgboost

    booster = _booster(folder, threads)

    def columns(rows: NDArray[np.float32]) -> NDArray[np.int64]:
        matrix = xgboost.DMatrix(rows, nthread=threads)
        leaves = booster.predict(matrix, pred_leaf=True, validate_features=False)
        found: NDArray[np.int64] = leaves.astype(np.int64) + starts
        return found

    return columns


def _leaves(folder: Path, model: Any, threads: int) -> Predict:
    starts, weights = _by_node_id(model)
    columns = _columns(folder, threads, starts)
    bias = base_margin(model)
    return lambda rows: _probability(weights[columns(rows)].sum(axis=1, dtype=np.float64) + bias)


def _tensorflow(folder: Path, model: Any, threads: int) -> Predict:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    starts, weights = _by_node_id(model)
    columns = _columns(folder, threads, starts)
    held = tf.constant(weights)
    bias = tf.constant(np.float32(base_margin(model)))
    wanted = tf.TensorSpec([None, len(starts)], tf.int64)

    @tf.function(input_signature=[wanted])  # type: ignore[untyped-decorator]
    def regression(at: Any) -> Any:
        return tf.sigmoid(tf.reduce_sum(tf.gather(held, at), axis=1) + bias)

    return lambda rows: regression(columns(rows)).numpy()


def _treelite(folder: Path, model: Any, threads: int) -> Predict:
    import treelite
    from treelite import gtil

    loaded = treelite.frontend.load_xgboost_model(str(folder / "booster.json"))
    starts, weights = _by_node_id(model)
    bias = base_margin(model)

    def predict(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        leaves = gtil.predict_leaf(loaded, rows, nthread=threads)
        return _probability(
            weights[leaves.astype(np.int64) + starts].sum(axis=1, dtype=np.float64) + bias
        )

    return predict


def _daal4py(folder: Path, threads: int) -> Predict:
    import daal4py

    daal4py.daalinit(nthreads=threads)
    converted = daal4py.mb.convert_model(_booster(folder, threads))
    return lambda rows: converted.predict_proba(rows)[:, 1]


def _tl2cgen(folder: Path, threads: int) -> Predict:
    import tl2cgen
    import treelite

    library = folder / "tl2cgen.so"
    if not library.exists():
        if folder.name.startswith("b"):
            raise NotImplementedError(
                "its C code of this model was not compiled: over half an hour"
            )
        loaded = treelite.frontend.load_xgboost_model(str(folder / "booster.json"))
        tl2cgen.export_lib(
            loaded, toolchain="gcc", libpath=str(library), params={"parallel_comp": 4}
        )
    predictor = tl2cgen.Predictor(str(library), nthread=threads)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows)).reshape(-1)


def _onnxruntime(model: Any, threads: int) -> Predict:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    columns: dict[str, list[Any]] = {
        "nodes_treeids": [], "nodes_nodeids": [], "nodes_featureids": [], "nodes_values": [],
        "nodes_modes": [], "nodes_truenodeids": [], "nodes_falsenodeids": [],
        "nodes_missing_value_tracks_true": [], "target_treeids": [], "target_nodeids": [],
        "target_ids": [], "target_weights": [],
    }  # fmt: skip
    for place, tree in enumerate(model["learner"]["gradient_booster"]["model"]["trees"]):
        for node, left in enumerate(tree["left_children"]):
            leaf = left < 0
            value = float(np.float32(tree["split_conditions"][node]))
            columns["nodes_treeids"].append(place)
            columns["nodes_nodeids"].append(node)
            columns["nodes_featureids"].append(0 if leaf else tree["split_indices"][node])
            columns["nodes_values"].append(0.0 if leaf else value)
            columns["nodes_modes"].append("LEAF" if leaf else "BRANCH_LT")
            columns["nodes_truenodeids"].append(0 if leaf else left)
            columns["nodes_falsenodeids"].append(0 if leaf else tree["right_children"][node])
            columns["nodes_missing_value_tracks_true"].append(
                0 if leaf else int(tree["default_left"][node])
            )
            if leaf:
                columns["target_treeids"].append(place)
                columns["target_nodeids"].append(node)
                columns["target_ids"].append(0)
                columns["target_weights"].append(value)
    features = int(model["learner"]["learner_model_param"]["num_feature"])
    forest = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["margin"], domain="ai.onnx.ml", n_targets=1,
        base_values=[base_margin(model)], **columns,
    )  # fmt: skip
    graph = helper.make_graph(
        [forest, helper.make_node("Sigmoid", ["margin"], ["y"])],
        "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    )
    built = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
    )
    onnx.checker.check_model(built)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        built.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda rows: session.run(None, {"x": rows})[0].reshape(-1)
