"""Each candidate asks the history: what of it matters to this ad?"""

# B = requests, K = candidates, N = tokens of a candidate, T = steps, L = 1 + T, D = model width,
# M = attention heads, E = width of a head

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.attention import KeysValues, keys_values, split_heads
from modern.history_encoder import OldState, weight_bias
from modern.transformer_config import TransformerConfig


class Memory(NamedTuple):
    """The history as candidates see it, computed once a request."""

    shown: KeysValues
    bias_B11L: Tensor


class InterestAttention(nn.Module):
    """Candidates are the query axis over keys and values that all of them share.

    Before the steps stands a learned row that is always seen: what a candidate finds where there
    is no history, or nothing in it that concerns it.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.nothing_D = nn.Parameter(torch.randn(config.width))
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def remember(
        self, encoded_BTD: Tensor, weight_BT: Tensor, before: OldState | None = None
    ) -> Memory:
        """Keys and values of the encoded steps, those of the old segment first."""
        rows = [self.nothing_D.expand(encoded_BTD.shape[0], 1, -1), encoded_BTD]
        weights = [torch.ones_like(weight_BT[:, :1]), weight_BT]
        if before is not None:
            rows.insert(1, before.encoded_BOD)
            weights.insert(1, before.weight_BO)
        shown_BLC = self.key_value(torch.cat(rows, dim=1))
        bias_BL = weight_bias(torch.cat(weights, dim=1), encoded_BTD.dtype)
        return Memory(keys_values(shown_BLC, self.num_heads), bias_BL[:, None, None, :])

    def forward(self, candidates_BKND: Tensor, memory: Memory) -> Tensor:
        """[request, candidate, channel], from the tokens of each candidate."""
        query_BKD = self.query(self.query_norm(candidates_BKND.mean(dim=2)))
        mixed_BMKE = nn.functional.scaled_dot_product_attention(
            split_heads(query_BKD, self.num_heads),
            memory.shown.key_BMLE,
            memory.shown.value_BMLE,
            attn_mask=memory.bias_B11L,
        )
        interest_BKD: Tensor = self.dropout(self.out(mixed_BMKE.transpose(1, 2).flatten(2)))
        return interest_BKD
