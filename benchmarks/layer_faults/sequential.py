"""The same transformer written again: sums from left to right, heads and steps one after another.

An independent translation, as a port is: same weights and module paths, other arithmetic.
"""

from __future__ import annotations

import math

import torch
from model import HEADS, MASKED, WIDTH, Add, Block, Context, Pool, Scores, Transformer
from torch import Tensor, nn


class Linear(nn.Linear):
    """One input after another."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.bias.expand(*x.shape[:-1], self.out_features)
        for place in range(self.in_features):
            total = total + x[..., place : place + 1] * self.weight[:, place]
        return total


class LayerNorm(nn.LayerNorm):
    """Mean and variance in two passes, both as sums from left to right."""

    def forward(self, x: Tensor) -> Tensor:
        mean = _summed(x) / x.shape[-1]
        apart = x - mean
        variance = _summed(apart * apart) / x.shape[-1]
        return apart / torch.sqrt(variance + self.eps) * self.weight + self.bias


class Gelu(nn.GELU):
    """By its formula."""

    def forward(self, x: Tensor) -> Tensor:
        if self.approximate == "tanh":
            inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
            return 0.5 * x * (1.0 + torch.tanh(inner))
        return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


class Softmax(nn.Softmax):
    """By its formula, summed from left to right."""

    def forward(self, x: Tensor) -> Tensor:
        powers = torch.exp(x - x.amax(dim=-1, keepdim=True))
        return powers / _summed(powers)


class SequentialScores(Scores):
    """Head by head, one component of the width after another."""

    def forward(self, query_CTD: Tensor, key_CTD: Tensor, mask_CT: Tensor) -> Tensor:
        width, heads = WIDTH // HEADS, []
        for head in range(HEADS):
            total = torch.zeros(*query_CTD.shape[:2], key_CTD.shape[1])
            for place in range(head * width, (head + 1) * width):
                total = total + query_CTD[..., place, None] * key_CTD[:, None, :, place]
            heads.append(total * self.scale)
        scores = torch.stack(heads, dim=1)
        if not self.is_masked:
            return scores
        seen = 1.0 - mask_CT if self.inverted else mask_CT
        return torch.where(seen[:, None, None, :] == 0, torch.tensor(MASKED), scores)


class SequentialContext(Context):
    """Head by head, one step after another."""

    def forward(self, weights_CHTT: Tensor, value_CTD: Tensor) -> Tensor:
        width, heads = WIDTH // HEADS, []
        values_CTD = value_CTD.flip(1) if self.reversed else value_CTD
        for head in range(HEADS):
            own = values_CTD[..., head * width : (head + 1) * width]
            total = torch.zeros(*own.shape)
            for step in range(own.shape[1]):
                total = total + weights_CHTT[:, head, :, step, None] * own[:, None, step]
            heads.append(total)
        return torch.cat(heads, dim=-1)


_TRANSLATED = {
    nn.Linear: Linear,
    nn.LayerNorm: LayerNorm,
    nn.GELU: Gelu,
    nn.Softmax: Softmax,
    Scores: SequentialScores,
    Context: SequentialContext,
}


def sequential(model: Transformer) -> Transformer:
    """The model with every step translated; its weights and settings are kept."""
    for module in model.modules():
        if not isinstance(module, Add | Block | Pool | Transformer | nn.ModuleList):
            module.__class__ = _TRANSLATED.get(type(module), type(module))
    return model


def _summed(x: Tensor) -> Tensor:
    total = x[..., :1]
    for place in range(1, x.shape[-1]):
        total = total + x[..., place : place + 1]
    return total
