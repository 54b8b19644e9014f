"""The checkpoints of the transformer stack: features, tokens, every module in order, outputs."""

from __future__ import annotations

from collections.abc import Iterator

from modern.features import FeatureSet
from modern.tokens import layout_of
from modern.transformer import TransformerConfig
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding


def transformer_checkpoints(
    feature_set: FeatureSet, config: TransformerConfig, *, stack: str
) -> CheckpointGraph:
    """The graph of one artifact; `layer` names are module paths."""
    return CheckpointGraph(
        [
            *_of_features(feature_set),
            *_of_modules(feature_set, config),
            *_of_outputs(feature_set),
        ],
        stack=stack,
    )


def module_paths(config: TransformerConfig) -> tuple[str, ...]:
    """The modules whose outputs are checkpoints, in execution order."""
    layers = (
        f"encoder.layers.{place}{part}"
        for place in range(config.num_layers)
        for part in (".attention_norm", ".attention", ".feed_forward_norm", ".feed_forward", "")
    )
    return ("tokens", *layers, "encoder.norm", "head")


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


def _of_modules(feature_set: FeatureSet, config: TransformerConfig) -> Iterator[Checkpoint]:
    num_tokens = layout_of(feature_set).num_tokens
    yield _tokens(
        "tokens",
        num_tokens,
        config,
        after=tuple(f"features.{feature.name}" for feature in feature_set.features),
    )
    before = "tokens"
    for place in range(config.num_layers):
        layer = f"encoder.layers.{place}"
        # The last layer computes the task token alone.
        asking = 1 if place == config.num_layers - 1 else num_tokens
        norm, attention = f"{layer}.attention_norm", f"{layer}.attention"
        fed_norm, fed = f"{layer}.feed_forward_norm", f"{layer}.feed_forward"
        yield _tokens(norm, num_tokens, config, after=(before,))
        yield _tokens(attention, asking, config, after=(norm,))
        yield _tokens(fed_norm, asking, config, after=(attention, before))
        yield _tokens(fed, asking, config, after=(fed_norm,))
        yield _tokens(layer, asking, config, after=(fed, attention, before))
        before = layer
    yield Checkpoint(
        name="encoder.norm",
        stage="layer",
        axes=("candidate", "channel"),
        shape=(config.width,),
        dtype="float32",
        after=(before,),
    )
    yield Checkpoint(
        name="head",
        stage="layer",
        axes=("candidate", "task"),
        shape=(1,),
        dtype="float32",
        after=("encoder.norm",),
        unit="log-odds",
    )


def _of_outputs(feature_set: FeatureSet) -> Iterator[Checkpoint]:
    yield Checkpoint(
        name="logit",
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("head",),
        unit="log-odds",
    )
    yield Checkpoint(
        name="pctr", stage="output", axes=("candidate",), dtype="float32", after=("logit",)
    )
    if feature_set.money is not None:
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
        after=("pctr" if feature_set.money is None else "ecpm_micros",),
        exact=True,
    )


def _tokens(
    name: str, num_tokens: int, config: TransformerConfig, *, after: tuple[str, ...]
) -> Checkpoint:
    return Checkpoint(
        name=name,
        stage="encoding" if name == "tokens" else "layer",
        axes=("candidate", "token", "channel"),
        shape=(num_tokens, config.width),
        dtype="float32",
        after=after,
    )
