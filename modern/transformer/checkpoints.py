"""The checkpoints of the transformer stack: features, history, tokens, every module, outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modern.features.feature_set import FeatureSet
from modern.features.steps import PREFIX
from modern.transformer.config import HistoryConfig, Task
from modern.transformer.module_places import AGE, OLD, PLACE, WEIGHT, ModulePlace, module_places
from modern.transformer.rounding import MARGIN
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding

if TYPE_CHECKING:
    from modern.transformer.artifact import TransformerArtifact

ROUNDED_ONCE = Rounding(ulps=0.5, why="computed in float64, rounded once to float32")


def transformer_checkpoints(artifact: TransformerArtifact, *, stack: str) -> CheckpointGraph:
    """The graph of one artifact; the layers' names are module paths."""
    config, reads_history = artifact.config, artifact.model.reads_history
    places = module_places(artifact.layout, config.transformer)
    return CheckpointGraph(
        [
            *_of_features(artifact.feature_set, reads_history=reads_history),
            *(_of_history(config.history) if reads_history else ()),
            *(_of_module(artifact, place) for place in places),
            *_of_outputs(artifact),
        ],
        stack=stack,
    )


def logit_name(artifact: TransformerArtifact, task: Task) -> str:
    """The checkpoint of a task's logit; the first task's is `logit`."""
    return "logit" if task == artifact.config.transformer.tasks[0] else f"logit.{task}"


def probability_name(artifact: TransformerArtifact, task: Task) -> str:
    """The checkpoint of a task's calibrated probability; the first task's is `pctr`."""
    return "pctr" if task == artifact.config.transformer.tasks[0] else f"p.{task}"


def _of_features(feature_set: FeatureSet, *, reads_history: bool) -> Iterator[Checkpoint]:
    for feature in feature_set.everything if reads_history else feature_set.features:
        is_real = feature.dtype == "float32"
        yield Checkpoint(
            name=f"features.{feature.name}",
            stage="feature",
            axes=(feature.axis,),
            dtype=feature.dtype,
            missing="nan" if is_real else "none",
            exact=feature.exact,
            rounding=None if feature.exact else ROUNDED_ONCE,
        )


def _of_history(history: HistoryConfig) -> Iterator[Checkpoint]:
    yield Checkpoint(
        name=AGE,
        stage="feature",
        axes=("step",),
        dtype="float32",
        unit="hours",
        missing="nan",
        rounding=ROUNDED_ONCE,
    )
    yield Checkpoint(name=OLD, stage="feature", axes=("step",), dtype="int32", exact=True)
    # Only what collapses looks at times and values.
    keys = tuple(f"features.{PREFIX}{name}" for name in history.collapse_by)
    yield Checkpoint(
        name=WEIGHT,
        stage="encoding",
        axes=("step",),
        dtype="float32",
        after=(*keys, AGE, OLD) if keys else (),
        unit="steps",
        exact=True,
    )
    yield Checkpoint(
        name=PLACE,
        stage="encoding",
        axes=("step",),
        dtype="int32",
        after=(OLD, WEIGHT),
        unit="place",
        exact=True,
    )


def _of_module(artifact: TransformerArtifact, place: ModulePlace) -> Checkpoint:
    return Checkpoint(
        name=place.path,
        stage=place.stage,
        axes=(place.axis, *(name for name, _ in place.inner)),
        shape=place.shape,
        dtype="int64" if place.discrete else "float32",
        after=place.after,
        unit="log-odds" if place.path == "heads" else "1",
        # A step that is not read has no row here.
        missing="nan" if place.axis == "step" and not place.discrete else "none",
        exact=place.discrete,
        rounding=None if place.discrete else _measured(artifact, place.path),
    )


def _of_outputs(artifact: TransformerArtifact) -> Iterator[Checkpoint]:
    money = artifact.feature_set.money
    for task in artifact.config.transformer.tasks:
        yield from _of_task(artifact, task)
    if money is not None:
        yield Checkpoint(
            name="ecpm_micros",
            stage="output",
            axes=("candidate",),
            dtype="float64",
            after=("pctr",),
            unit="micros",
            rounding=Rounding(
                ulps=0.5, why="given pctr: 1000 * pctr is exact in float64, times the bid is not"
            ),
        )
    yield Checkpoint(
        name="rank",
        stage="output",
        axes=("candidate",),
        dtype="int32",
        after=("pctr" if money is None else "ecpm_micros",),
        exact=True,
    )


def _of_task(artifact: TransformerArtifact, task: Task) -> Iterator[Checkpoint]:
    bound = MARGIN * artifact.rounding["heads"] + 2.0**-24 * _largest_logit(artifact)
    logit = logit_name(artifact, task)
    yield Checkpoint(
        name=logit,
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("heads",),
        unit="log-odds",
        rounding=Rounding(absolute=bound, why="the heads' bound and one float32 addition"),
    )
    yield Checkpoint(
        name=probability_name(artifact, task),
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=(logit,),
        rounding=Rounding(
            absolute=artifact.calibrations[task].slope / 4 * bound + 2.0**-25,
            why="slope / 4 x the logit's bound, and one rounding to float32",
        ),
    )


def _largest_logit(artifact: TransformerArtifact) -> float:
    """What no |logit| exceeds: a normed vector of D channels has none above sqrt(D)."""
    norm, heads = artifact.model.interaction.norm, artifact.model.heads
    normed_D = norm.weight.abs() * norm.weight.numel() ** 0.5 + norm.bias.abs()
    prior_H = artifact.model.prior_logit_H.abs()
    return float((prior_H + heads.weight.abs() @ normed_D + heads.bias.abs()).max())


def _measured(artifact: TransformerArtifact, name: str) -> Rounding:
    return Rounding(
        absolute=MARGIN * artifact.rounding[name],
        why=f"{MARGIN:g} x the largest float32 error found against float64 when it was trained",
    )
