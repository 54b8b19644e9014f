"""Which kernels a recorded pass spends its time in: the engine's, by the GPU's own clock."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from modern.bench.shapes import Shape, random_inputs, random_model
from modern.engine.buckets import Pass, whole_pass
from modern.engine.config import EngineConfig, Mode
from modern.engine.engine import Engine
from modern.engine.staging import steps_read
from modern.transformer.inputs import ModelInputs

REPLAYS = 20
ROWS = 18


def main() -> int:
    model = random_model(Shape())
    for requests in (1, 32):
        inputs = random_inputs(Shape(), requests=requests, seed=0)
        one = whole_pass(steps_read(inputs), np.diff(inputs.candidate_offsets))
        for mode in ("compiled_graph", "fused_graph"):
            show(Engine(model, config(mode)), inputs, one, f"bf16 {mode} x{requests}")
    return 0


def config(mode: Mode) -> EngineConfig:
    return EngineConfig(device="cuda", precision="bf16", mode=mode, max_candidates=1 << 30)


def show(engine: Engine, inputs: ModelInputs, one: Pass, title: str) -> None:
    program, _ = engine.staged(inputs, one)
    program.answer()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(REPLAYS):
            program.run()
        torch.cuda.synchronize()
    kernels = [row for row in profiled.key_averages() if row.self_device_time_total > 0]
    total = sum(row.self_device_time_total for row in kernels) / REPLAYS
    count = sum(row.count for row in kernels) / REPLAYS
    print(f"{title}: {count:.0f} kernels, {total:.0f} us of kernels a pass")
    for row in sorted(kernels, key=lambda row: -row.self_device_time_total)[:ROWS]:
        share = row.self_device_time_total / REPLAYS
        print(f"  {share:8.1f} us  {row.count / REPLAYS:5.1f} x  {row.key[:110]}")


if __name__ == "__main__":
    sys.exit(main())
