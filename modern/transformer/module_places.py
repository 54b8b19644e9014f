"""The modules whose outputs are checkpoints: rows, shape, and what each is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modern.transformer.config import TransformerConfig
from modern.transformer.layout import SideLayout, TokenLayout
from replay.checkpoint import RowAxis, Stage

# What the log says of the history, before any module (modern/transformer/history.py).
AGE, OLD, PLACE, WEIGHT = (f"history.{name}" for name in ("age_hours", "old", "place", "weight"))
AGE_BUCKET = "step_tokens.age"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePlace:
    """One module's output, as a stack declares it.

    Attributes:
        path: The module's path in the model, and the checkpoint's name.
        axis: The rows.
        inner: Name and size of each inner axis.
        after: What it is computed from.
        discrete: int64; all others are real.
    """

    path: str
    axis: RowAxis
    inner: tuple[tuple[str, int], ...]
    after: tuple[str, ...]
    stage: Stage = "layer"
    discrete: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the inner axes."""
        return tuple(size for _, size in self.inner)


def module_places(layout: TokenLayout, config: TransformerConfig) -> tuple[ModulePlace, ...]:
    """Every module whose output is a checkpoint, in execution order."""
    return tuple(_Places(layout, config).all())


class _Places:
    """The sizes that all of them share."""

    def __init__(self, layout: TokenLayout, config: TransformerConfig) -> None:
        self.layout = layout
        self.config = config
        self.reads_history = bool(layout.step.names) and config.form != "no_history"
        self.channel = ("channel", config.width)

    def all(self) -> Iterator[ModulePlace]:
        config = self.config
        request_token = ("token", 1 + self.layout.request.num_features)
        yield self._feature_tokens("request_tokens", "request", self.layout.request)
        yield from self._encoder(
            "request", "request", (request_token, self.channel), "request_tokens",
            depth=config.request_layers,
        )  # fmt: skip
        if self.reads_history:
            yield from self._steps()
        yield self._feature_tokens("candidate_tokens", "candidate", self.layout.candidate)
        if self.reads_history:
            yield from self._interest()
        yield from self._interaction()

    def _feature_tokens(self, path: str, axis: RowAxis, side: SideLayout) -> ModulePlace:
        return ModulePlace(
            path=path,
            axis=axis,
            inner=(("token", 1 + side.num_features), self.channel),
            after=features_of(side),
            stage="encoding",
        )

    def _steps(self) -> Iterator[ModulePlace]:
        yield ModulePlace(
            path=AGE_BUCKET,
            axis="step",
            inner=(),
            after=(AGE, PLACE),
            stage="encoding",
            discrete=True,
        )
        yield ModulePlace(
            path="step_tokens",
            axis="step",
            inner=(self.channel,),
            after=(*features_of(self.layout.step), AGE_BUCKET, PLACE),
            stage="encoding",
        )
        # With early fusion a step has an encoding for each candidate: two ragged axes, no rows.
        if self.config.form != "early_fusion":
            yield from self._encoder(
                "history", "step", (self.channel,), "step_tokens",
                depth=self.config.history_layers, rows=(PLACE,), seen=(OLD, WEIGHT),
            )  # fmt: skip

    def _interest(self) -> Iterator[ModulePlace]:
        fused = self.config.form == "early_fusion"
        steps = ("step_tokens", OLD, "candidate_tokens") if fused else ("history.norm",)
        heads = ("head", self.config.num_heads)
        yield self._of(
            "interest.query_norm", "candidate", (heads, self.channel), ("candidate_tokens",)
        )
        yield self._of(
            "interest",
            "candidate",
            (self.channel,),
            ("interest.query_norm", *steps, WEIGHT, PLACE),
        )

    def _interaction(self) -> Iterator[ModulePlace]:
        tokens = ("candidate_tokens", *(("interest",) if self.reads_history else ()))
        count = 1 + self.layout.candidate.num_features + self.reads_history
        own, tasks = ("token", count), ("task", len(self.config.tasks))
        last = self.config.num_layers - 1
        before = tokens
        for place in range(self.config.num_layers):
            path = f"interaction.layers.{place}"
            asking = tasks if place == last else own
            yield from self._layer(
                path, "candidate", before, (own, self.channel), (asking, self.channel),
                seen=("request.norm",), carried=tokens[1:] if place == last else before,
            )  # fmt: skip
            before = (path,)
        yield self._of("interaction.norm", "candidate", (tasks, self.channel), before)
        yield self._of("heads", "candidate", (tasks,), ("interaction.norm",))

    def _encoder(
        self,
        path: str,
        axis: RowAxis,
        inner: tuple[tuple[str, int], ...],
        tokens: str,
        *,
        depth: int,
        rows: tuple[str, ...] = (),
        seen: tuple[str, ...] = (),
    ) -> Iterator[ModulePlace]:
        before: tuple[str, ...] = (tokens,)
        for place in range(depth):
            layer = f"{path}.layers.{place}"
            yield from self._layer(layer, axis, before, inner, inner, seen=seen, rows=rows)
            before = (layer,)
        yield self._of(f"{path}.norm", axis, inner, (*before, *rows))

    def _layer(
        self,
        path: str,
        axis: RowAxis,
        before: tuple[str, ...],
        inner: tuple[tuple[str, int], ...],
        asking: tuple[tuple[str, int], ...],
        *,
        seen: tuple[str, ...] = (),
        rows: tuple[str, ...] = (),
        carried: tuple[str, ...] | None = None,
    ) -> Iterator[ModulePlace]:
        """Norm, attention, norm, feed-forward, and the layer that adds them up.

        Args:
            path: Of the layer.
            axis: Its rows.
            before: What it is given.
            inner: Inner axes of that.
            asking: Inner axes of what asks and is computed.
            seen: What else the attention depends on.
            rows: What decides which rows there are.
            carried: What is added to what it computes; by default what it is given.
        """
        norm, attention = f"{path}.attention_norm", f"{path}.attention"
        fed_norm, fed = f"{path}.feed_forward_norm", f"{path}.feed_forward"
        carried = before if carried is None else carried
        yield self._of(norm, axis, inner, (*before, *rows))
        yield self._of(attention, axis, asking, (norm, *seen, *rows))
        yield self._of(fed_norm, axis, asking, (attention, *carried, *rows))
        yield self._of(fed, axis, asking, (fed_norm, *rows))
        yield self._of(path, axis, asking, (fed, attention, *carried, *rows))

    def _of(
        self,
        path: str,
        axis: RowAxis,
        inner: tuple[tuple[str, int], ...],
        after: tuple[str, ...],
    ) -> ModulePlace:
        return ModulePlace(path=path, axis=axis, inner=inner, after=after)


def features_of(side: SideLayout) -> tuple[str, ...]:
    """The checkpoints of its features."""
    return tuple(f"features.{name}" for name in side.names)
