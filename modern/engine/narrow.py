"""Linear layers in eight bits: activations scaled by the row, weights by the output channel.

Both are quantised symmetrically as they come, so nothing has to be calibrated: y = (q_x q_w) s_x s_w.
int8 multiplies exactly in int32 (torch._int_mm); fp8 is e4m3, four bits of exponent and three of
mantissa, multiplied by the GPU's own instruction (torch._scaled_mm).
"""

# M = rows of all leading axes, C = input channels, O = output channels

from __future__ import annotations

import torch
from torch import Tensor, nn

_INT8 = 127.0
_FP8 = 448.0  # the largest finite e4m3
# torch._int_mm on a GPU wants more than 16 rows, and a multiple of 8 in the other two sizes.
_FEWEST_ROWS = 32
# torch._scaled_mm wants multiples of 16 everywhere.
_FP8_MULTIPLE = 16


class NarrowLinear(nn.Module):
    """A linear layer whose product runs in int8 or fp8.

    Args:
        linear: What it replaces; its sizes have to be multiples of 16.
        kind: Which.
        out_dtype: Of the result.
    """

    weight_OC: Tensor
    scale_O: Tensor

    def __init__(self, linear: nn.Linear, *, kind: str, out_dtype: torch.dtype) -> None:
        super().__init__()
        assert fits(linear), "the caller asks first"
        self.kind = kind
        self.out_dtype = out_dtype
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight_OC = linear.weight.detach().float()
        quantised_OC, scale_O1 = quantised(weight_OC, kind)
        self.register_buffer("weight_OC", quantised_OC)
        self.register_buffer("scale_O", scale_O1.squeeze(1))
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """[..., output channel]."""
        x_MC = x.reshape(-1, self.in_features)
        rows = x_MC.shape[0]
        padding = max(_FEWEST_ROWS - rows, 0) if self.kind == "int8" else -rows % _FP8_MULTIPLE
        if padding:
            x_MC = nn.functional.pad(x_MC, (0, 0, 0, padding))
        quantised_MC, scale_M1 = quantised(x_MC.float(), self.kind)
        if self.kind == "int8":
            product_MO = torch._int_mm(quantised_MC, self.weight_OC.t()).float()  # noqa: SLF001 - torch has no public name for it
            y_MO = product_MO * scale_M1 * self.scale_O
        elif x.device.type == "cpu":  # the same eight bits, multiplied as float32
            y_MO = quantised_MC.float() @ self.weight_OC.float().t() * scale_M1 * self.scale_O
        else:
            y_MO = torch._scaled_mm(  # noqa: SLF001 - likewise
                quantised_MC,
                self.weight_OC.t(),
                scale_a=scale_M1,
                scale_b=self.scale_O.unsqueeze(0),
                out_dtype=torch.bfloat16,
            ).float()
        if self.bias is not None:
            y_MO = y_MO + self.bias
        return y_MO[:rows].to(self.out_dtype).view(*x.shape[:-1], self.out_features)


def fits(linear: nn.Linear) -> bool:
    """Whether its sizes are multiples of 16."""
    return linear.in_features % _FP8_MULTIPLE == 0 and linear.out_features % _FP8_MULTIPLE == 0


def quantised(x_MC: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Eight-bit values and the scale [row, 1] of each row; a row of zeros has scale 1."""
    largest_M1 = x_MC.abs().amax(dim=1, keepdim=True)
    top = _INT8 if kind == "int8" else _FP8
    scale_M1 = torch.where(largest_M1 > 0, largest_M1 / top, 1.0)
    if kind == "int8":
        return (x_MC / scale_M1).round().to(torch.int8), scale_M1
    return (x_MC / scale_M1).to(torch.float8_e4m3fn), scale_M1
