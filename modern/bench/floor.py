"""The least a forward can take here: its operations and bytes, counted, over rates measured here.

Operations are the products' multiplications and additions, as torch counts them on the shared
form. Bytes are each input and weight read once and each logit written once: as if everything in
between stayed on the chip.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from modern.engine.config import Device, EngineConfig, Precision
from modern.engine.narrow import quantised
from modern.engine.precision import running
from modern.engine.staging import Staging
from modern.transformer.model import RankingTransformer

# Large enough to fill the device, small enough for a second or two of it.
_COPY_BYTES = {"cuda": 2 << 30, "cpu": 128 << 20}
_PINNED_BYTES = 256 << 20
_PRODUCT_SIZE = {"cuda": 8192, "cpu": 1024}
_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the device was seen to do in this run.

    Attributes:
        copy_bytes_s: Bytes read plus bytes written of a large copy on the device.
        to_device_bytes_s: Of a large copy from pinned memory; None on a CPU.
        product_flop_s: Precision to operations a second of a large matrix product.
    """

    copy_bytes_s: float
    to_device_bytes_s: float | None
    product_flop_s: dict[Precision, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one pass has to do, counted.

    Attributes:
        flop: Multiplications and additions of its products.
        bytes: That memory has to give and take at least.
        staged_bytes: Of them those that come from the host.
    """

    flop: float
    bytes: float
    staged_bytes: float

    def floor_ms(self, rates: Rates, precision: Precision) -> float:
        """The longer of arithmetic and memory; the host's copy comes first, nothing hides it."""
        arithmetic = self.flop / rates.product_flop_s[precision]
        memory = self.bytes / rates.copy_bytes_s
        travel = self.staged_bytes / rates.to_device_bytes_s if rates.to_device_bytes_s else 0.0
        return (max(arithmetic, memory) + travel) * 1e3


def count_work(model: RankingTransformer, staging: Staging, precision: Precision) -> Work:
    """Count one pass over what is staged, on tensors that have shapes and no values."""
    tensors = tuple(tensor.to("meta") for tensor in staging.tensors)
    shapes = copy.deepcopy(model).to("meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = shapes(*tensors)
    # Products are read in the precision's width, all other parameters in float32.
    width = {"fp32": 4, "tf32": 4, "bf16": 2, "int8": 1, "fp8": 1}[precision]
    linear = sum(p.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)
                 for p in m.parameters(recurse=False))  # fmt: skip
    codes = sum(tensor.numel() for tensor in tensors if tensor.dtype == torch.int32)
    table = model.codes.embedding_VD
    rest = sum(p.numel() for p in model.parameters()) - linear - table.numel()
    embedded = min(codes, table.shape[0]) * table.shape[1]
    num_bytes = linear * width + 4 * (rest + embedded + logits.numel()) + staging.num_bytes
    staged = 0.0 if staging.tensors[0].device.type == "cpu" else float(staging.num_bytes)
    return Work(flop=float(counter.get_total_flops()), bytes=float(num_bytes), staged_bytes=staged)


def measure_rates(device: Device, precisions: tuple[Precision, ...]) -> Rates:
    """Run a large copy and a large product of each precision."""
    size = _PRODUCT_SIZE[device]
    products: dict[Precision, float] = {}
    for precision in precisions:
        run = _product(precision, device, size)
        with running(EngineConfig(device=device, precision=precision)):
            products[precision] = 2.0 * size**3 / _seconds(run, device)
    return Rates(
        copy_bytes_s=_copy_rate(device),
        to_device_bytes_s=_to_device_rate() if device == "cuda" else None,
        product_flop_s=products,
    )


def _copy_rate(device: Device) -> float:
    source = torch.ones(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2.0 * source.numel() / _seconds(lambda: target.copy_(source), device)


def _to_device_rate() -> float:
    pinned = torch.ones(_PINNED_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(pinned, device="cuda")
    return pinned.numel() / _seconds(lambda: target.copy_(pinned, non_blocking=True), "cuda")


def _product(precision: Precision, device: Device, size: int) -> Callable[[], Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=generator) for _ in range(2))
    if precision in {"int8", "fp8"}:
        (a, scale_a), (b, scale_b) = quantised(left, precision), quantised(right, precision)
        if precision == "int8":
            return lambda: torch._int_mm(a, b.t())  # noqa: SLF001 - torch has no public name for it
        return lambda: torch._scaled_mm(  # noqa: SLF001 - likewise
            a, b.t(), scale_a=scale_a, scale_b=scale_b.t().contiguous(), out_dtype=torch.bfloat16
        )
    if precision == "bf16":
        left, right = left.bfloat16(), right.bfloat16()
    return lambda: left @ right


def _seconds(run: Callable[[], object], device: Device) -> float:
    """The shortest of a few runs: a rate that the device can reach."""
    best = float("inf")
    for _ in range(_REPEATS):
        _synchronise(device)
        began = time.perf_counter()
        run()
        _synchronise(device)
        best = min(best, time.perf_counter() - began)
    return best


def _synchronise(device: Device) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
