"""An interaction layer as one GPU kernel: nothing of it leaves the chip but its result.

A program takes a few candidates of one request. Their tokens stand in registers from the first norm
to the last sum: products on the tensor cores, both parts of the attention in one softmax, sums in
float32. In steps of their own the same layer writes and reads its tokens fifteen times.
"""

# B = requests, K = candidates, N = tokens of a candidate, R = tokens of the request, D = width,
# M = attention heads, E = width of a head, F = width of the feed-forward layer

from __future__ import annotations

import torch
import triton
from torch import Tensor, nn

from modern.attention import KeysValues
from modern.engine.interaction_kernel import interaction_layer
from modern.interaction import InteractionLayer
from modern.transformer import RankingTransformer
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
        self.attention = layer.attention  # its `remember` is asked for the request's part
        self.attention_norm = layer.attention_norm
        self.feed_forward_norm = layer.feed_forward_norm
        self.feed_forward = layer.feed_forward
        self.in_bfloat16 = layer.attention.project.weight.dtype == torch.bfloat16

    def forward(self, x_BKND: Tensor, request: KeysValues) -> Tensor:
        """The same shape."""
        batch, candidates, tokens, width = x_BKND.shape
        narrow = width // self.attention.num_heads
        shown_rows = request.key_BMLE.shape[2]
        x_BKND = x_BKND.contiguous()
        out_BKND = torch.empty_like(x_BKND)
        padded = max(16, triton.next_power_of_2(tokens))
        group = _ROWS // padded
        block = min(_FEED_FORWARD_BLOCK, self.feed_forward.up.out_features)
        interaction_layer[(batch, triton.cdiv(candidates, group))](
            x_BKND, out_BKND,
            request.key_BMLE.contiguous(), request.value_BMLE.contiguous(),
            self.attention_norm.weight, self.attention_norm.bias,
            self.attention.project.weight, self.attention.project.bias,
            self.attention.out.weight, self.attention.out.bias,
            self.feed_forward_norm.weight, self.feed_forward_norm.bias,
            self.feed_forward.up.weight, self.feed_forward.up.bias,
            self.feed_forward.down.weight, self.feed_forward.down.bias,
            candidates, narrow**-0.5, self.attention_norm.eps, self.feed_forward_norm.eps,
            N=tokens, NP=padded, G=group, R=shown_rows,
            RP=max(16, triton.next_power_of_2(shown_rows)),
            D=width, M=self.attention.num_heads, E=narrow,
            F=self.feed_forward.up.out_features, FB=block,
            BF16=self.in_bfloat16, num_warps=4,
        )  # fmt: skip
        return out_BKND


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
