"""The checkpoints of the transformer stack: features, tokens, every module in order, outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modern.features import FeatureSet
from modern.rounding import MARGIN
from modern.tokens import layout_of
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding

if TYPE_CHECKING:
    from modern.transformer_artifact import TransformerArtifact


def transformer_checkpoints(artifact: TransformerArtifact, *, stack: str) -> CheckpointGraph:
    """The graph of one artifact; the layers' names are module paths."""
    return CheckpointGraph(
        [*_of_features(artifact.feature_set), *_of_modules(artifact), *_of_outputs(artifact)],
        stack=stack,
    )


def _of_features(feature_set: FeatureSet) -> Iterator[Checkpoint]:
    for feature in feature_set.features:
        is_real = feature.dtype == "float32"
        yield Checkpoint(
            name=f"features.{feature.name}",
            stage="feature",
            axes=(feature.axis,),
            dtype=feature.dtype,
            missing="nan" if is_real else "none",
            exact=feature.exact,
            rounding=None
            if feature.exact
            else Rounding(ulps=0.5, why="computed in float64, rounded once to float32"),
        )


def _of_modules(artifact: TransformerArtifact) -> Iterator[Checkpoint]:
    config = artifact.config.transformer
    num_tokens = layout_of(artifact.feature_set).num_tokens
    features = tuple(f"features.{feature.name}" for feature in artifact.feature_set.features)
    yield _tokens(artifact, "tokens", num_tokens, after=features)
    before = "tokens"
    for place in range(config.num_layers):
        layer = f"encoder.layers.{place}"
        # The last layer computes the task token alone.
        asking = 1 if place == config.num_layers - 1 else num_tokens
        norm, attention = f"{layer}.attention_norm", f"{layer}.attention"
        fed_norm, fed = f"{layer}.feed_forward_norm", f"{layer}.feed_forward"
        yield _tokens(artifact, norm, num_tokens, after=(before,))
        yield _tokens(artifact, attention, asking, after=(norm,))
        yield _tokens(artifact, fed_norm, asking, after=(attention, before))
        yield _tokens(artifact, fed, asking, after=(fed_norm,))
        yield _tokens(artifact, layer, asking, after=(fed, attention, before))
        before = layer
    yield Checkpoint(
        name="encoder.norm",
        stage="layer",
        axes=("candidate", "channel"),
        shape=(config.width,),
        dtype="float32",
        after=(before,),
        rounding=_measured(artifact, "encoder.norm"),
    )
    yield Checkpoint(
        name="head",
        stage="layer",
        axes=("candidate", "task"),
        shape=(1,),
        dtype="float32",
        after=("encoder.norm",),
        unit="log-odds",
        rounding=_measured(artifact, "head"),
    )


def _of_outputs(artifact: TransformerArtifact) -> Iterator[Checkpoint]:
    money = artifact.feature_set.money
    logit_bound = MARGIN * artifact.rounding["head"] + 2.0**-24 * _largest_logit(artifact)
    yield Checkpoint(
        name="logit",
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("head",),
        unit="log-odds",
        rounding=Rounding(absolute=logit_bound, why="the head's bound and one float32 addition"),
    )
    yield Checkpoint(
        name="pctr",
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("logit",),
        rounding=Rounding(
            absolute=artifact.calibration.slope / 4 * logit_bound + 2.0**-25,
            why="slope / 4 x the logit's bound, and one rounding to float32",
        ),
    )
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


def _largest_logit(artifact: TransformerArtifact) -> float:
    """What no |logit| exceeds: a normed vector of D channels has none above sqrt(D)."""
    norm, head = artifact.model.encoder.norm, artifact.model.head
    normed_D = norm.weight.abs() * norm.weight.numel() ** 0.5 + norm.bias.abs()
    largest = artifact.model.prior_logit.abs() + head.weight.abs() @ normed_D + head.bias.abs()
    return float(largest)


def _tokens(
    artifact: TransformerArtifact, name: str, num_tokens: int, *, after: tuple[str, ...]
) -> Checkpoint:
    return Checkpoint(
        name=name,
        stage="encoding" if name == "tokens" else "layer",
        axes=("candidate", "token", "channel"),
        shape=(num_tokens, artifact.config.transformer.width),
        dtype="float32",
        after=after,
        rounding=_measured(artifact, name),
    )


def _measured(artifact: TransformerArtifact, name: str) -> Rounding:
    return Rounding(
        absolute=MARGIN * artifact.rounding[name],
        why=f"{MARGIN:g} x the largest float32 error found against float64 when it was trained",
    )
