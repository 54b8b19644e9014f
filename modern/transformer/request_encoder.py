"""The request's own tokens, encoded once: they never see a step or a candidate."""

# B = requests, N = request tokens, D = model width

from __future__ import annotations

from torch import Tensor, nn

from modern.transformer.attention import EncoderLayer
from modern.transformer.config import TransformerConfig


class RequestEncoder(nn.Module):
    """Layers over the tokens of the request, then a norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.request_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """[request, token, channel], what candidates look at."""
        x_BND = tokens_BND
        for layer in self.layers:
            x_BND = layer(x_BND, None)
        encoded_BND: Tensor = self.norm(x_BND)
        return encoded_BND
