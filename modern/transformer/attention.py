"""Attention over the rows of a request, and the layers that are made of it."""

# B = requests, S = rows that ask, L = rows that are seen, D = model width, M = attention heads,
# E = width of a head, F = width of the feed-forward layer

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.transformer.config import TransformerConfig


class KeysValues(NamedTuple):
    """What rows show to those that attend to them.

    Attributes:
        key_BMLE, value_BMLE: [request, head, row, head channel].
    """

    key_BMLE: Tensor
    value_BMLE: Tensor


def split_heads(x_BLD: Tensor, num_heads: int) -> Tensor:
    """[request, head, row, head channel] of [request, row, channel]."""
    batch, rows, width = x_BLD.shape
    return x_BLD.view(batch, rows, num_heads, width // num_heads).transpose(1, 2)


def keys_values(projected_BLC: Tensor, num_heads: int) -> KeysValues:
    """Of keys and values that one linear layer computed side by side."""
    key_BLD, value_BLD = projected_BLC.chunk(2, dim=-1)
    return KeysValues(split_heads(key_BLD, num_heads), split_heads(value_BLD, num_heads))


class SelfAttention(nn.Module):
    """Each row looks at all rows of its request that the bias lets it see."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        # Queries, keys and values side by side: one product in place of three.
        self.project = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, normed_BSD: Tensor, bias_B1SL: Tensor | None, before: KeysValues | None = None
    ) -> Tensor:
        """The same shape.

        Args:
            normed_BSD: The rows.
            bias_B1SL: Added to the scores of each asking row (S) for each that is seen (L).
            before: Keys and values of rows that stand before these and do not ask.
        """
        query_BSD, shown_BSC = self.project(normed_BSD).split(
            [self.out.in_features, 2 * self.out.in_features], dim=-1
        )
        key_BMLE, value_BMLE = keys_values(shown_BSC, self.num_heads)
        if before is not None:
            key_BMLE = torch.cat([before.key_BMLE, key_BMLE], dim=2)
            value_BMLE = torch.cat([before.value_BMLE, value_BMLE], dim=2)
        mixed_BMSE = nn.functional.scaled_dot_product_attention(
            split_heads(query_BSD, self.num_heads), key_BMLE, value_BMLE, attn_mask=bias_B1SL
        )
        attended_BSD: Tensor = self.dropout(self.out(mixed_BMSE.transpose(1, 2).flatten(2)))
        return attended_BSD

    def shown(self, normed_BLD: Tensor) -> KeysValues:
        """The keys and values alone, of rows that ask nothing."""
        width = self.out.in_features
        weight, bias = self.project.weight[width:], self.project.bias[width:]
        return keys_values(nn.functional.linear(normed_BLD, weight, bias), self.num_heads)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between, the same for every row."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward)
        self.activation = nn.GELU(
            approximate="tanh" if config.activation == "gelu_tanh" else "none"
        )
        self.down = nn.Linear(config.feed_forward, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_XD: Tensor) -> Tensor:
        """The same shape."""
        out_XD: Tensor = self.dropout(self.down(self.activation(self.up(x_XD))))
        return out_XD


class EncoderLayer(nn.Module):
    """Attention, then feed-forward, each on the normed residual stream and added to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.attention = SelfAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x_BSD: Tensor, bias_B1SL: Tensor | None, before: KeysValues | None = None
    ) -> Tensor:
        """The same shape; arguments as of `SelfAttention`."""
        attended_BSD = self.attention(self.attention_norm(x_BSD), bias_B1SL, before)
        hidden_BSD = x_BSD + attended_BSD
        out_BSD: Tensor = hidden_BSD + self.feed_forward(self.feed_forward_norm(hidden_BSD))
        return out_BSD

    def shown(self, x_BLD: Tensor) -> KeysValues:
        """What these rows show to others in this layer."""
        return self.attention.shown(self.attention_norm(x_BLD))
