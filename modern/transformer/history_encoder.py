"""The history, encoded once a request: old steps see old ones, recent steps see all."""

# B = requests, T = steps, O = steps of the old segment that were encoded before, L = O + T,
# D = model width, M = attention heads, E = width of a head

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.transformer.attention import EncoderLayer, KeysValues
from modern.transformer.config import TransformerConfig


class OldState(NamedTuple):
    """The old segment as the recent one sees it: all that is ever needed of it again.

    Attributes:
        layers: Keys and values of each encoder layer.
        encoded_BOD: Its steps, encoded: what candidates ask.
        weight_BO: float32, 0 in padding.
    """

    layers: tuple[KeysValues, ...]
    encoded_BOD: Tensor
    weight_BO: Tensor


class HistoryEncoder(nn.Module):
    """Layers over the steps, then a norm. Steps have ages and no positions.

    That old steps see only old ones, in every layer, makes their encoding the same whatever
    happens afterwards: it can be computed offline and looked up, exactly.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.history_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)

    def forward(
        self,
        tokens_BTD: Tensor,
        old_BT: Tensor,
        weight_BT: Tensor,
        before: OldState | None = None,
    ) -> Tensor:
        """[request, step, channel], what candidates ask.

        Args:
            tokens_BTD: The steps.
            old_BT: bool, whether a step is of the old segment.
            weight_BT: How many logged steps it stands for, 0 in padding.
            before: The old segment, where it was encoded before; then no step here is old.
        """
        bias_B1TL = segment_bias(old_BT, weight_BT, tokens_BTD.dtype)
        if before is not None:
            old_B1TO = weight_bias(before.weight_BO, tokens_BTD.dtype)[:, None, None, :].expand(
                -1, -1, tokens_BTD.shape[1], -1
            )
            bias_B1TL = torch.cat([old_B1TO, bias_B1TL], dim=-1)
        x_BTD = tokens_BTD
        for place, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, bias_B1TL, None if before is None else before.layers[place])
        encoded_BTD: Tensor = self.norm(x_BTD)
        return encoded_BTD

    def old_state(self, tokens_BOD: Tensor, weight_BO: Tensor) -> OldState:
        """The old segment alone, in the form that `forward` takes as `before`."""
        old_BO = torch.ones_like(weight_BO, dtype=torch.bool)
        bias_B1OO = segment_bias(old_BO, weight_BO, tokens_BOD.dtype)
        shown, x_BOD = [], tokens_BOD
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer), "made above"
            shown.append(layer.shown(x_BOD))
            x_BOD = layer(x_BOD, bias_B1OO)
        return OldState(tuple(shown), self.norm(x_BOD), weight_BO)


def weight_bias(weight_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """log(weight), added to scores: n equal steps get n shares, padding none.

    Finite in padding: a row that may see nothing at all is padding itself, and must not be NaN.
    """
    log_BT = weight_BT.clamp(min=torch.finfo(weight_BT.dtype).tiny).log().to(dtype)
    return log_BT.masked_fill(weight_BT <= 0, torch.finfo(dtype).min / 2)


def segment_bias(old_BT: Tensor, weight_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """[request, 1, asking step, seen step]: an old step sees old ones only."""
    unseen_BTT = old_BT.unsqueeze(2) & ~old_BT.unsqueeze(1)
    bias_BTT = weight_bias(weight_BT, dtype).unsqueeze(1)
    return bias_BTT.masked_fill(unseen_BTT, torch.finfo(dtype).min / 2).unsqueeze(1)
