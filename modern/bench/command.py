"""`python -m modern bench`: every precision and mode, next to this device's floor, as one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from replay.errors import ConfigError

if TYPE_CHECKING:
    from modern.bench.floor import Rates
    from modern.bench.measure import Case, Row
    from modern.engine.config import Device, Precision

_PRECISIONS: Mapping[Device, list[Precision]] = {
    "cpu": ["fp32", "bf16", "int8"],
    "cuda": ["fp32", "tf32", "bf16", "int8", "fp8"],
}
_MODES = {
    "cpu": ("eager",),
    "cuda": ("eager", "compiled", "graph", "compiled_graph", "fused_graph"),
}


def add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "bench", help="time the engine's precisions and modes next to this device's floor"
    )
    parser.set_defaults(run=_bench)
    parser.add_argument("--artifact", type=Path, help="a trained model (else random weights)")
    parser.add_argument("--like", type=Path, help="the log to take the artifact's requests from")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", action="append", help="fp32, tf32, bf16, int8, fp8 (all)")
    parser.add_argument(
        "--mode",
        action="append",
        help="eager, compiled, graph, compiled_graph, fused_graph (all; on a CPU eager)",
    )
    parser.add_argument(
        "--form",
        action="append",
        help="shared; cached: old segments encoded before; plain: per candidate, one request (all)",
    )
    parser.add_argument("--requests", action="append", type=int, help="scored together (1 and 32)")
    parser.add_argument("--candidates", type=int, default=500, help="of a request (500)")
    parser.add_argument("--history", type=int, default=500, help="steps of a request (500)")
    parser.add_argument("--width", type=int, default=64, help="channels of a token (64)")
    parser.add_argument("--heads", type=int, default=4, help="attention heads (4)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each measurement (1); 0 compiles alone"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch's own on the CPU (1)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")


def _bench(options: argparse.Namespace) -> int:
    import torch  # heavy: only this command pays for it

    from modern.bench.floor import measure_rates
    from modern.bench.measure import Bench, device_name
    from modern.bench.table import render
    from modern.engine.config import EngineConfig, check_device

    check_device(EngineConfig(device=options.device))
    torch.set_num_threads(options.threads)
    cases = _cases(options)
    precisions: tuple[Precision, ...] = tuple(dict.fromkeys(case.precision for case in cases))
    model, inputs, facts = _model_and_inputs(options, sorted({case.requests for case in cases}))
    rates = measure_rates(options.device, precisions) if options.seconds else None
    bench = Bench(
        model,
        inputs,
        device=options.device,
        rates=rates,
        seconds=options.seconds,
        max_old=options.history,
    )
    facts |= {"device": device_name(options.device), "torch": torch.__version__}
    facts |= {"threads": torch.get_num_threads(), "seconds": options.seconds}
    rows: list[Row] = []
    for row in bench.rows(cases):
        rows.append(row)
        _say(f"  {row.case.name}: {row.failed or f'{row.device_p50_ms:.3f} ms'}", sys.stderr)
        if options.out is not None:  # after each row: what is found is kept whatever comes
            options.out.write_text(json.dumps(_json(facts, rates, rows), indent=1) + "\n")
    if rates is not None:
        _say(render(facts, rates, rows), sys.stdout)
    return 1 if any(row.failed for row in rows) else 0


def _cases(options: argparse.Namespace) -> list[Case]:
    from modern.bench.measure import Case, Form
    from modern.engine.config import EngineConfig

    device: Device = options.device
    forms = options.form or list(get_args(Form))
    for form in forms:
        if form not in get_args(Form):
            raise ConfigError(
                f"no form is called {form!r}.",
                where="--form",
                fix=f"use one of {', '.join(get_args(Form))}",
            )
    cases = []
    for form in forms:
        # A CUDA graph of the plain form would hold gigabytes of intermediates and gain nothing.
        modes = options.mode or _MODES[device]
        modes = [mode for mode in modes if form != "plain" or mode in {"eager", "compiled"}]
        precisions: list[Precision] = options.precision or _PRECISIONS[device]
        if form == "cached":  # eight bits are not kept (modern.engine.config)
            precisions = [one for one in precisions if one not in {"int8", "fp8"}]
        for requests in (options.requests or [1, 32]) if form != "plain" else [1]:
            for precision in precisions:
                for mode in modes:
                    if mode == "fused_graph" and precision not in {"tf32", "bf16"}:
                        continue  # no kernel of ours for it
                    EngineConfig(device=device, precision=precision, mode=mode)  # refused here
                    cases.append(Case(form=form, precision=precision, mode=mode, requests=requests))
    return cases


def _model_and_inputs(
    options: argparse.Namespace, requests: Sequence[int]
) -> tuple[Any, list[tuple[int, list[Any]]], dict[str, Any]]:
    from modern.bench.measure import NUM_INPUTS
    from modern.bench.shapes import Shape, random_inputs, random_model

    if options.artifact is not None:
        from modern.bench.logged import logged_inputs
        from modern.transformer.artifact import load_artifact

        artifact = load_artifact(options.artifact)
        made = [(size, logged_inputs(artifact, options.like, requests=size)) for size in requests]
        return artifact.model, made, {"artifact": artifact.training_id}
    shape = Shape(
        candidates=options.candidates,
        history=options.history,
        width=options.width,
        heads=options.heads,
        feed_forward=2 * options.width,
    )
    made = [
        (size, [random_inputs(shape, requests=size, seed=seed) for seed in range(NUM_INPUTS)])
        for size in requests
    ]
    return random_model(shape), made, {"shape": asdict(shape)}


def _json(facts: dict[str, Any], rates: Rates | None, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        **facts,
        "rates": None if rates is None else asdict(rates),
        "rows": [row.to_json() for row in rows],
    }


def _say(text: str, stream: Any) -> None:
    stream.write(f"{text}\n")
    stream.flush()
