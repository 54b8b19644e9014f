"""A transformer of four blocks whose every step is a module: 61 checkpoints between inputs and logit.

Shape suffixes: C = candidates, T = steps, D = width, H = heads, W = width of a head.
"""

from __future__ import annotations

import math

import torch
from features import FIELDS
from torch import Tensor, nn

WIDTH, HEADS, BLOCKS = 64, 4, 4
# What a masked score is replaced by: far below any score, and finite, as exporters like it.
MASKED = -1e9


class Scores(nn.Module):
    """Masked, scaled products of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(WIDTH // HEADS)
        self.inverted = False
        self.is_masked = True

    def forward(self, query_CTD: Tensor, key_CTD: Tensor, mask_CT: Tensor) -> Tensor:
        query_CHTW, key_CHTW = by_head(query_CTD), by_head(key_CTD)
        scores_CHTT = query_CHTW @ key_CHTW.transpose(-1, -2) * self.scale
        if not self.is_masked:
            return scores_CHTT
        seen_CT = 1.0 - mask_CT if self.inverted else mask_CT
        return scores_CHTT.masked_fill(seen_CT[:, None, None, :] == 0, MASKED)


class Context(nn.Module):
    """Values averaged by weights, heads side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.reversed = False

    def forward(self, weights_CHTT: Tensor, value_CTD: Tensor) -> Tensor:
        values_CHTW = by_head(value_CTD)
        if self.reversed:
            values_CHTW = values_CHTW.flip(2)
        return (weights_CHTT @ values_CHTW).transpose(1, 2).flatten(2)


class Add(nn.Module):
    """A residual sum."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and around a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.scores, self.weights, self.context = Scores(), nn.Softmax(dim=-1), Context()
        self.out, self.add1 = nn.Linear(WIDTH, WIDTH), Add()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up, self.act, self.down = nn.Linear(WIDTH, 128), nn.GELU(), nn.Linear(128, WIDTH)
        self.add2 = Add()

    def forward(self, x_CTD: Tensor, mask_CT: Tensor) -> Tensor:
        y_CTD = self.norm1(x_CTD)
        scores = self.scores(self.query(y_CTD), self.key(y_CTD), mask_CT)
        attended = self.out(self.context(self.weights(scores), self.value(y_CTD)))
        x_CTD = self.add1(x_CTD, attended)
        return self.add2(x_CTD, self.down(self.act(self.up(self.norm2(x_CTD)))))


class Pool(nn.Module):
    """The mean of the steps that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.counts_padding = False

    def forward(self, x_CTD: Tensor, mask_CT: Tensor) -> Tensor:
        if self.counts_padding:
            return x_CTD.mean(dim=1)
        return (x_CTD * mask_CT[:, :, None]).sum(dim=1) / mask_CT.sum(dim=1, keepdim=True)


class Transformer(nn.Module):
    """Steps of numbers to the logit of a click."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FIELDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.pool, self.head = nn.LayerNorm(WIDTH), Pool(), nn.Linear(WIDTH, 1)

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        x_CTD = self.embed(steps)
        for block in self.blocks:
            x_CTD = block(x_CTD, mask)
        logit: Tensor = self.head(self.pool(self.norm(x_CTD), mask))
        return logit.squeeze(-1)


def by_head(x_CTD: Tensor) -> Tensor:
    """[candidate, head, step, width of a head]."""
    return x_CTD.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def transformer(seed: int = 0) -> Transformer:
    """The model, its norms and biases away from where they start: trained ones are."""
    torch.manual_seed(seed)
    model = Transformer().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.1)
    return model
