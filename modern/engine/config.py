"""How the engine runs a model: where, how precisely, and in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from replay.errors import ConfigError

Device = Literal["cpu", "cuda"]
# fp32 is real float32 (no tf32 anywhere). tf32 rounds what a product reads to 10 bits of mantissa,
# on the GPU. bf16: products in bfloat16, sums, norms and the residual stream in float32. int8 and
# fp8: linear layers over activations scaled by the row and weights scaled by the output channel,
# all else as in bf16 on a GPU and as in fp32 on a CPU.
Precision = Literal["fp32", "tf32", "bf16", "int8", "fp8"]
# What runs a bucket of one shape: the module as it is; torch.compile of it; a CUDA graph of either;
# a CUDA graph of the compiled module whose interaction layers are one kernel each.
Mode = Literal["eager", "compiled", "graph", "compiled_graph", "fused_graph"]
GRAPHS: tuple[Mode, ...] = ("graph", "compiled_graph", "fused_graph")
COMPILED: tuple[Mode, ...] = ("compiled", "compiled_graph", "fused_graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How requests are run.

    Attributes:
        device: Where.
        precision: How precisely.
        mode: In which form.
        max_requests: Requests of one pass, at most.
        max_candidates: Candidate slots of one pass, at most (one request alone may have more).
        cache_bytes: What encoded old segments may take on the device; 0 encodes them every time.
    """

    device: Device = "cpu"
    precision: Precision = "fp32"
    mode: Mode = "eager"
    max_requests: int = 32
    max_candidates: int = 16_384
    cache_bytes: int = 0

    def __post_init__(self) -> None:
        for noun, value, known in (
            ("device", self.device, get_args(Device)),
            ("precision", self.precision, get_args(Precision)),
            ("mode", self.mode, get_args(Mode)),
        ):
            if value not in known:
                raise _refusal(f"no {noun} is called {value!r}", f"use one of {', '.join(known)}")
        if min(self.max_requests, self.max_candidates) < 1 or self.cache_bytes < 0:
            raise _refusal(f"{self} has a limit that admits nothing", "give at least 1")
        if self.device == "cpu" and self.mode in GRAPHS:
            raise _refusal(f"mode {self.mode!r} records a CUDA graph", "use eager or compiled")
        if self.mode == "fused_graph" and self.precision not in {"tf32", "bf16"}:
            raise _refusal(
                f"the fused kernel runs on tensor cores, which have no {self.precision} here",
                "use tf32 or bf16, or mode compiled_graph",
            )
        if self.cache_bytes and self.precision in {"int8", "fp8"}:
            raise _refusal(
                f"old segments are not kept in {self.precision}: recent steps would see them "
                "otherwise rounded than in one pass",
                "set cache_bytes to 0, or use bf16",
            )
        if self.device == "cpu" and self.precision in {"tf32", "fp8"}:
            raise _refusal(f"a CPU has no {self.precision}", "use fp32, bf16 or int8")


def check_device(config: EngineConfig) -> None:
    """Refuse a GPU that is not there.

    Raises:
        ConfigError: torch sees none.
    """
    import torch  # heavy: not needed to read a configuration

    if config.device == "cuda" and not torch.cuda.is_available():
        raise _refusal("torch sees no GPU", "use device cpu, or a torch built for this GPU")


def _refusal(what: str, fix: str) -> ConfigError:
    return ConfigError(f"{what}.", where="the engine's configuration", fix=fix)
