"""Start a training from another's weights: what was taken is named, and proven by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modern.training.fitting import is_within
from modern.transformer.artifact import load_artifact
from modern.transformer.config import Task
from modern.transformer.model import RankingTransformer
from modern.transformer.training_config import ModernConfig
from replay.digests import digest_of_file
from replay.errors import ArtifactError, ConfigError

# A row for each task; all else is the same for whatever is predicted.
OF_TASKS = ("prior_logit_H", "heads.weight", "heads.bias", "task_HD")
# How often a task happens is its own: these rows are never another task's.
OF_LEVELS = ("prior_logit_H", "heads.bias")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """The weights that a training starts from.

    Attributes:
        training_id: Of the training they come from.
        weights_digest: Of its weights.safetensors.
        tasks: Its tasks.
        weights: By the model's names.
    """

    training_id: str
    weights_digest: str
    tasks: tuple[Task, ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of it, for the manifest.

    Attributes:
        names: Weights that were taken whole.
        rows: Names of task weights to the tasks whose rows were taken, each with the task it came
            from.
        fresh: Weights that stayed as they were drawn.
        digest: Of all that was taken, as it stands in the model.
    """

    training_id: str
    weights_digest: str
    names: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]
    fresh: tuple[str, ...]
    digest: str


def open_start(artifact: Path, features_json: bytes, config: ModernConfig) -> Start:
    """Check that the weights of an artifact mean something to the model of a configuration.

    Raises:
        ArtifactError: The artifact is damaged.
        ConfigError: It reads other features, or a frozen module is none of the model's.
    """
    found = load_artifact(artifact)
    if (artifact / "features.json").read_bytes() != features_json:
        raise ConfigError(
            "the weights to start from read other features: their embeddings would be those of "
            "other values.",
            where=str(artifact / "features.json"),
            fix="train with --features of that artifact, and no --history",
        )
    start = Start(
        training_id=found.training_id,
        weights_digest=digest_of_file(artifact / "weights.safetensors"),
        tasks=found.config.transformer.tasks,
        weights=found.model.state_dict(),
    )
    for module in config.training.frozen:
        if not any(is_within(name, (module,)) for name in start.weights):
            known = sorted({name.partition(".")[0] for name in start.weights})
            raise ConfigError(
                f"{module!r} is to be frozen and is no module of the model "
                f"(known: {', '.join(known)}).",
                where="the training's configuration, frozen",
                fix="name a module, or a module within: history.layers.0",
            )
    return start


def load_start(start: Start, model: RankingTransformer) -> Loaded:
    """Put the weights into a new model: equal names and shapes whole, task weights row by row.

    A task that the earlier training did not have starts from its first one's query and head, at
    its own level: conversions begin where clicks end.

    Raises:
        ArtifactError: Nothing fits, or what stands in the model afterwards is not what was read.
    """
    state = model.state_dict()
    tasks = model.config.tasks
    source_of = {task: task if task in start.tasks else start.tasks[0] for task in tasks}
    expected: dict[str, Tensor] = {}
    rows: dict[str, dict[str, str]] = {}
    for name, tensor in state.items():
        theirs = start.weights.get(name)
        if theirs is None or theirs.shape[1:] != tensor.shape[1:] or theirs.ndim != tensor.ndim:
            continue
        if not name.endswith(OF_TASKS):
            if theirs.shape == tensor.shape:
                expected[name] = theirs
            continue
        own_level = name.endswith(OF_LEVELS)
        taken = {t: s for t, s in source_of.items() if t == s or not own_level}
        merged = tensor.clone()
        for task, source in taken.items():
            merged[tasks.index(task)] = theirs[start.tasks.index(source)]
        if taken:
            expected[name] = merged
            rows[name] = {str(task): str(source) for task, source in taken.items()}
    whole = tuple(sorted(set(expected) - set(rows)))
    if not whole:
        raise ArtifactError(
            "none of its weights fits this model.",
            where=f"training {start.training_id}",
            fix="train a variant of the same width and layers",
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            state[name].copy_(tensor)
    digest = digest_of_weights(model.state_dict(), expected)
    if digest != digest_of_weights(expected, expected):
        raise ArtifactError(
            "what stands in the model is not what was read.",
            where=f"training {start.training_id}",
            fix="report this: a loaded weight was changed on the way",
        )
    return Loaded(
        training_id=start.training_id,
        weights_digest=start.weights_digest,
        names=whole,
        rows=rows,
        fresh=tuple(sorted(set(state) - set(expected))),
        digest=digest,
    )


def digest_of_weights(weights: Mapping[str, Tensor], names: Collection[str]) -> str:
    """SHA-256 over names, shapes and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(names):
        array: np.ndarray[Any, Any] = weights[name].detach().cpu().contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return f"sha256:{found.hexdigest()}"


def line_of_loaded(loaded: Loaded) -> str:
    """What was taken, in a line."""
    borrowed = sorted(
        {
            f"{task} from {source}"
            for rows in loaded.rows.values()
            for task, source in rows.items()
            if task != source
        }
    )
    fresh = f", {len(loaded.fresh)} weights are new" if loaded.fresh else ""
    heads = f", heads: {', '.join(borrowed)}" if borrowed else ""
    return f"{len(loaded.names)} weights taken whole{heads}{fresh} ({loaded.digest[:19]})"
