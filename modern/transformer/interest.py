"""Each candidate asks the history: what of it matters to this ad?"""

# B = requests, K = candidates, N = tokens of a candidate, T = steps, L = 1 + T, D = model width,
# M = attention heads, E = width of a head

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.transformer.attention import KeysValues, keys_values
from modern.transformer.config import TransformerConfig
from modern.transformer.history_encoder import OldState, weight_bias


class Memory(NamedTuple):
    """The history as candidates see it, computed once a request."""

    shown: KeysValues
    bias_B11L: Tensor


class InterestAttention(nn.Module):
    """Candidates are the query axis over keys and values that all of them share.

    Before the steps stands a learned row that is always seen: what a candidate finds where there
    is no history, or nothing in it that concerns it.

    Each head asks with a learned sum of the candidate's tokens. It starts from one that steps have
    too, embedded by the same table (its ad, its category): in the mean of all of twenty tokens
    each is a twentieth, and training does not find the one that matters. What a head finds is passed
    on twice, as it is and times what it asked: which category draws to which other is a product,
    at hand here and far away for layers that add.

    Source of the product: Zhou et al. 2018, "Deep Interest Network", section 4.3.

    Args:
        config: The sizes.
        num_tokens: Of a candidate.
        asking: Places of the tokens that the heads start from in turn; none: each from all.
    """

    def __init__(
        self, config: TransformerConfig, *, num_tokens: int, asking: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        share_MN = torch.full((config.num_heads, num_tokens), 1 / num_tokens)
        for head in range(config.num_heads if asking else 0):
            share_MN[head] = 0.0
            share_MN[head, asking[head % len(asking)]] = 1.0
        self.share_MN = nn.Parameter(share_MN)
        self.query_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.nothing_D = nn.Parameter(torch.randn(config.width))
        self.out = nn.Linear(2 * config.width, config.width)
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
        asked_BKMD = self.query_norm(self.share_MN @ candidates_BKND)
        weight_MED = self.query.weight.view(self.num_heads, -1, self.query.in_features)
        query_BKME = torch.einsum("bkmd,med->bkme", asked_BKMD, weight_MED)
        query_BKME = query_BKME + self.query.bias.view(self.num_heads, -1)
        found_BMKE = nn.functional.scaled_dot_product_attention(
            query_BKME.transpose(1, 2),
            memory.shown.key_BMLE,
            memory.shown.value_BMLE,
            attn_mask=memory.bias_B11L,
        )
        found_BKME = found_BMKE.transpose(1, 2)
        both_BKC = torch.cat([found_BKME, found_BKME * query_BKME], dim=-1).flatten(2)
        interest_BKD: Tensor = self.dropout(self.out(both_BKC))
        return interest_BKD
