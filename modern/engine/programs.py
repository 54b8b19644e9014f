"""What runs a bucket: the module as it is, compiled, or recorded as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modern.engine.buckets import Bucket
from modern.engine.config import GRAPHS, EngineConfig
from modern.engine.precision import running
from modern.engine.staging import Staging, Widths

# Libraries choose kernels and take workspace on first use; a recording must not contain that.
_WARM_UPS = 3
# Far above what an engine meets: sizes are rounded to two a power of two (modern.engine.buckets).
_MOST_PROGRAMS = 512


class Program:
    """A bucket's own buffers, and the model over them.

    Args:
        model: Prepared for the precision (`modern.engine.precision`).
        function: What runs: the model, or what torch.compile made of it.
        bucket: The shape.
        widths: The features.
        config: The engine's.
        pool: Memory that all recordings of an engine share: one of them runs at a time.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        bucket: Bucket,
        widths: Widths,
        config: EngineConfig,
        pool: Any,
    ) -> None:
        self.staging = Staging(bucket, widths, torch.device(config.device))
        self._function = function
        self._config = config
        self._graph: torch.cuda.CUDAGraph | None = None
        if config.mode in GRAPHS:
            self._record(pool)
        # Where the logits come back to; on a CPU they are there already.
        self._answer: Tensor | None = None

    def run(self) -> Tensor:
        """[request, candidate, task] logits of what was staged, float32, on the device.

        They stand until the next run.
        """
        if self._graph is not None:
            self._graph.replay()
            return self._logits
        with running(self._config):
            return self._function(*self.staging.tensors).float()

    def answer(self) -> Tensor:
        """Stage, run, and bring the logits to the host."""
        self.staging.send()
        logits = self.run()
        if logits.device.type == "cpu":
            return logits
        if self._answer is None:
            self._answer = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
        self._answer.copy_(logits, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._answer

    def _record(self, pool: Any) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), running(self._config):
            for _ in range(_WARM_UPS):
                self._function(*self.staging.tensors)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with running(self._config), torch.cuda.graph(graph, pool=pool):
            self._logits = self._function(*self.staging.tensors).float()
        self._graph = graph


def compiled(model: nn.Module) -> Callable[..., Tensor]:
    """torch.compile of the model for exactly the shapes it meets: buckets are few."""
    # All buckets of all engines of a process count together, and a bucket more is no mistake.
    dynamo = torch._dynamo.config  # noqa: SLF001 - documented by torch under this name
    dynamo.recompile_limit = max(dynamo.recompile_limit, _MOST_PROGRAMS)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, 4 * _MOST_PROGRAMS)
    function: Callable[..., Tensor] = torch.compile(model, dynamic=False, fullgraph=True)
    return function
