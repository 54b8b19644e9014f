"""A transformer over the tokens of one candidate: which features matter together."""

# C = candidates, T = tokens (task token first), Q = tokens that ask, D = model width,
# H = heads, E = width of a head, F = width of the feed-forward layer

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from modern.tokens import FeatureTokens, RealStatistics, TokenLayout
from replay.errors import ConfigError

Activation = Literal["gelu", "gelu_tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """The size of the transformer.

    Attributes:
        width: Channels of a token. 32 with two layers scores a day of 424,680 candidates
            in about ten seconds of one CPU thread, features not counted.
        num_layers: Encoder layers; the last one computes the task token alone.
        num_heads: Attention heads; they divide the width.
        feed_forward: Channels inside a feed-forward layer.
        dropout: Of both residual branches, while training.
        layernorm_eps: PyTorch's default.
        activation: "gelu" is the exact one (erf).
    """

    width: int = 32
    num_layers: int = 2
    num_heads: int = 2
    feed_forward: int = 64
    dropout: float = 0.1
    layernorm_eps: float = 1e-5
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        sizes = (self.width, self.num_layers, self.num_heads, self.feed_forward)
        if min(sizes) < 1 or self.width % self.num_heads:
            raise _refusal(
                f"the sizes {self} do not fit", "give positive sizes; heads divide width"
            )
        if not 0 <= self.dropout < 1 or not 0 < self.layernorm_eps < 1:
            raise _refusal(f"{self} is out of range", "0 <= dropout < 1 and 0 < layernorm_eps < 1")
        if self.activation not in get_args(Activation):
            raise _refusal(
                f"no activation is called {self.activation!r}",
                f"use one of {', '.join(get_args(Activation))}",
            )


def module_paths(config: TransformerConfig) -> tuple[str, ...]:
    """The modules whose outputs are checkpoints, in execution order."""
    layers = (
        f"encoder.layers.{place}{part}"
        for place in range(config.num_layers)
        for part in (".attention_norm", ".attention", ".feed_forward_norm", ".feed_forward", "")
    )
    return ("tokens", *layers, "encoder.norm", "head")


class Attention(nn.Module):
    """Each asking token looks at all tokens of its candidate; no positions, no mask."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, asking_CQD: Tensor, tokens_CTD: Tensor) -> Tensor:
        """[candidate, asking token, channel]."""
        mixed_CHQE = nn.functional.scaled_dot_product_attention(
            self._heads(self.query(asking_CQD)),
            self._heads(self.key(tokens_CTD)),
            self._heads(self.value(tokens_CTD)),
        )
        mixed_CQD = mixed_CHQE.transpose(1, 2).flatten(2)
        attended_CQD: Tensor = self.out(mixed_CQD)
        return attended_CQD

    def _heads(self, x_CTD: Tensor) -> Tensor:
        num_candidates, num_tokens, width = x_CTD.shape
        shape = (num_candidates, num_tokens, self.num_heads, width // self.num_heads)
        return x_CTD.view(shape).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between, the same for every token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward)
        self.activation = nn.GELU(
            approximate="tanh" if config.activation == "gelu_tanh" else "none"
        )
        self.down = nn.Linear(config.feed_forward, config.width)

    def forward(self, x_CQD: Tensor) -> Tensor:
        """The same shape."""
        out_CQD: Tensor = self.down(self.activation(self.up(x_CQD)))
        return out_CQD


class EncoderLayer(nn.Module):
    """Attention, then feed-forward, each on the normed residual stream and added to it.

    Args:
        config: The transformer's.
        task_only: Compute the task token alone: of the last layer nothing else is read.
    """

    def __init__(self, config: TransformerConfig, *, task_only: bool) -> None:
        super().__init__()
        self.num_asking = 1 if task_only else None
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens_CTD: Tensor) -> Tensor:
        """[candidate, token, channel], or [candidate, 1, channel] of the task token alone."""
        normed_CTD = self.attention_norm(tokens_CTD)
        attended_CQD = self.attention(normed_CTD[:, : self.num_asking], normed_CTD)
        hidden_CQD = tokens_CTD[:, : self.num_asking] + self.dropout(attended_CQD)
        fed_CQD = self.feed_forward(self.feed_forward_norm(hidden_CQD))
        out_CQD: Tensor = hidden_CQD + self.dropout(fed_CQD)
        return out_CQD


class Encoder(nn.Module):
    """Encoder layers, then the norm of the task token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        last = config.num_layers - 1
        self.layers = nn.ModuleList(
            EncoderLayer(config, task_only=place == last) for place in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)

    def forward(self, tokens_CTD: Tensor) -> Tensor:
        """[candidate, channel] of the task token."""
        x_CTD = tokens_CTD
        for layer in self.layers:
            x_CTD = layer(x_CTD)
        task_CD: Tensor = self.norm(x_CTD.squeeze(1))
        return task_CD


class Transformer(nn.Module):
    """Features of a candidate to the log-odds of a click.

    The head starts at zero and adds to the prior's log-odds, so an untrained model is the prior.
    """

    prior_logit: Tensor

    def __init__(
        self,
        layout: TokenLayout,
        config: TransformerConfig,
        *,
        statistics: RealStatistics,
        prior_logit: float,
    ) -> None:
        super().__init__()
        self.tokens = FeatureTokens(layout, width=config.width, statistics=statistics)
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("prior_logit", torch.tensor(prior_logit, dtype=torch.float32))

    def forward(self, real_CR: Tensor, code_CN: Tensor) -> Tensor:
        """[candidate] logit.

        Args:
            real_CR: float32, NaN where missing.
            code_CN: int64, each within its feature's cardinality.
        """
        task_CD = self.encoder(self.tokens(real_CR, code_CN))
        head_C1: Tensor = self.head(task_CD)
        return self.prior_logit + head_C1.squeeze(-1)


def _refusal(what: str, fix: str) -> ConfigError:
    return ConfigError(f"{what}.", where="the transformer's configuration", fix=fix)
