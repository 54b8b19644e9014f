"""A graph opened for running, every tensor of interest read through a node that can be fed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from replay.adapters.tf_graph import node_of, with_nodes_after
from replay.trace import Array


def session_of(graph: Any, threads: int, *, optimised: bool = False) -> Any:
    """A session with threads of its own; unless optimised, each operator runs as it is written.

    A session has its own threads only where `TF_OVERRIDE_GLOBAL_THREADPOOL` was set before
    TensorFlow's first one (`replay.threads`).
    """
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=1,
        device_count={"GPU": 0},
    )
    if not optimised:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = -1
    opened = tf.Graph()
    with opened.as_default():
        tf.import_graph_def(graph, name="")
    return tf.compat.v1.Session(graph=opened, config=config)


def settable(graph: Any, tensors: Iterable[tuple[str, int]], *, noisy: bool) -> Any:
    """A copy in which what reads a tensor reads what is fed for it, if it is; else what was produced.

    Args:
        graph: In order.
        tensors: With their element types.
        noisy: Whether what is fed as noise is added to real tensors.
    """
    made: dict[str, list[Any]] = {}
    reads: dict[str, str] = {}
    for tensor, kind in tensors:
        used, noise = used_of(tensor), noise_of(tensor)
        made[tensor] = [_default(used, tensor, kind)]
        reads[tensor] = used
        if noisy and tf.dtypes.as_dtype(kind).is_floating:
            noised, zero = used.replace("/used", "/noised"), used.replace("/used", "/zero")
            value = tf.make_tensor_proto(np.zeros((), numpy_kind(kind)))
            made[tensor] += [
                node_of(_node(zero), "Const", [], dtype=kind,
                        value=tf.compat.v1.AttrValue(tensor=value)),
                _default(noise, zero, kind),
                node_of(_node(noised), "AddV2", [used, noise], T=kind),
            ]  # fmt: skip
            reads[tensor] = noised
    return with_nodes_after(graph, made, lambda _: reads)


def used_of(tensor: str) -> str:
    """What is fed in place of a tensor."""
    return f"parity/{tensor.replace(':', '_')}/used:0"


def noise_of(tensor: str) -> str:
    """What is fed to be added to a tensor."""
    return f"parity/{tensor.replace(':', '_')}/noise:0"


def numpy_kind(kind: int) -> Any:
    """An element type as numpy's."""
    return tf.dtypes.as_dtype(kind).as_numpy_dtype


def plain(array: Array) -> Array:
    """Numpy has no bfloat16; float32 holds every one of its values."""
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array


def _default(name: str, tensor: str, kind: int) -> Any:
    """A node that gives what it reads, unless it is fed."""
    anything = tf.compat.v1.AttrValue(shape=tf.TensorShape(None).as_proto())
    return node_of(_node(name), "PlaceholderWithDefault", [tensor], dtype=kind, shape=anything)


def _node(tensor: str) -> str:
    return tensor.removesuffix(":0")
