"""An interaction layer as one GPU kernel: nothing of it leaves the chip but its result.

A program takes a few candidates of one request. Their tokens stand in registers from the first norm
to the last sum: products on the tensor cores, both parts of the attention in one softmax, sums in
float32. In steps of their own the same layer writes and reads its tokens fifteen times.
"""

# B = requests, K = candidates, N = tokens of a candidate, R = tokens of the request, D = width,
# M = attention heads, E = width of a head, F = width of the feed-forward layer

from __future__ import annotations

import torch
from torch import Tensor, nn

from modern.engine.interaction_kernel import interaction_layer
from modern.transformer.attention import KeysValues
from modern.transformer.interaction import InteractionLayer
from modern.transformer.model import RankingTransformer
from replay.errors import ConfigError

# Rows of a program: four candidates of up to 16 tokens. Twice as many would spill registers.
_ROWS = 64
_FEED_FORWARD_BLOCK = 64


class FusedLayer(nn.Module):
    """Computes what an `InteractionLayer` does, from its parameters.

    Args:
        layer: Prepared for its precision (`modern.engine.precision`), and of sizes that `fits` takes.
    """

    def __init__(self, layer: InteractionLayer) -> None:
        super().__init__()
        self.attention = layer.attention
        self.attention_norm = layer.attention_norm
        self.feed_forward_norm = layer.feed_forward_norm
        self.feed_forward = layer.feed_forward

    def remember(self, request_BRD: Tensor) -> KeysValues:
        """What the request's tokens show in this layer."""
        return self.attention.remember(request_BRD)

    def forward(self, x_BKND: Tensor, request: KeysValues) -> Tensor:
        """The same shape."""
        feed_forward = self.feed_forward
        layers = (
            *(self.attention_norm, self.attention.project, self.attention.out),
            *(self.feed_forward_norm, feed_forward.up, feed_forward.down),
        )
        weights = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        out_BKND: Tensor = torch.ops.modern.interaction_layer(
            x_BKND,
            request.key_BMLE,
            request.value_BMLE,
            weights,
            self.attention_norm.eps,
            self.feed_forward_norm.eps,
        )
        return out_BKND


# An operator of its own: torch.compile takes it as it is and looks no further.
_NAME = "modern::interaction_layer"
torch.library.define(
    _NAME,
    "(Tensor x, Tensor key, Tensor value, Tensor[] weights, float eps1, float eps2) -> Tensor",
)


@torch.library.impl(_NAME, ("cuda", "cpu"))  # on a CPU only Triton's interpreter runs it
def _run(
    x_BKND: Tensor, key_BMRE: Tensor, value_BMRE: Tensor, weights: list[Tensor], *eps: float
) -> Tensor:
    batch, candidates, tokens, width = x_BKND.shape
    heads, shown, narrow = key_BMRE.shape[1:]
    out_BKND = torch.empty(x_BKND.shape, dtype=x_BKND.dtype, device=x_BKND.device)
    padded = _power_of_two(tokens)
    group = _ROWS // padded
    inner = weights[8].shape[0]
    grid = (batch, -(-candidates // group))
    interaction_layer[grid](
        *(x_BKND.contiguous(), out_BKND, key_BMRE.contiguous(), value_BMRE.contiguous()),
        *weights,
        *(candidates, narrow**-0.5, *eps),
        N=tokens, NP=padded, G=group, R=shown, RP=_power_of_two(shown),
        D=width, M=heads, E=narrow, F=inner, FB=min(_FEED_FORWARD_BLOCK, inner),
        BF16=weights[2].dtype == torch.bfloat16,
    )  # fmt: skip
    return out_BKND


@torch.library.register_fake(_NAME)  # type: ignore[untyped-decorator]
def _shape(
    x_BKND: Tensor, key_BMRE: Tensor, value_BMRE: Tensor, weights: list[Tensor], *eps: float
) -> Tensor:
    del key_BMRE, value_BMRE, weights, eps
    return torch.empty(x_BKND.shape, dtype=x_BKND.dtype, device=x_BKND.device)


def _power_of_two(size: int) -> int:
    """The next one, of the 16 rows at least that a tensor core takes."""
    return max(16, 1 << (size - 1).bit_length())


def fuse_layers(model: RankingTransformer) -> None:
    """Put a `FusedLayer` in the place of each interaction layer that it can compute.

    Raises:
        ConfigError: It can compute none: the mode would be another one by the name of this.
    """
    layers = model.interaction.layers
    side = model.candidate_tokens
    tokens = 1 + len(side.real.bias_RD) + len(side.bias_ND) + int(model.reads_history)
    inner = {p: one for p, one in enumerate(layers) if isinstance(one, InteractionLayer)}
    chosen = {place: one for place, one in inner.items() if fits(one, tokens=tokens)}
    if not chosen:
        raise ConfigError(
            f"none of the {len(inner)} inner interaction layers can be fused ({tokens} tokens).",
            where="the engine's configuration, mode 'fused_graph'",
            fix="widths have to be powers of two of 16 or more, with exact GELU and at most "
            f"{_ROWS} tokens; else use compiled_graph",
        )
    for place, layer in chosen.items():
        layers[place] = FusedLayer(layer)


def fits(layer: InteractionLayer, *, tokens: int) -> bool:
    """Whether the kernel can compute this layer: sizes of tensor cores, and the exact GELU."""
    width = layer.attention.out.in_features
    narrow = width // layer.attention.num_heads
    inner = layer.feed_forward.up.out_features
    return (
        tokens <= _ROWS
        and all(size >= 16 and size & (size - 1) == 0 for size in (width, narrow, inner))
        and layer.feed_forward.activation.approximate == "none"
    )
