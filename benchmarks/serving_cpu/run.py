"""One request on one CPU thread: what sharing, folding and compiling save, in CPU time.

    python benchmarks/serving_cpu/run.py            the table and the plot (about ten minutes)
    python benchmarks/serving_cpu/run.py --quick    the eager forms only

All forms run the same weights in one process, interleaved, and are compared with each other's
logits first. CPU time of the process, not the clock: other work on the machine disturbs it less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the claim is about one thread

import torch
from forms import Prototype, layout_of_synthetic, make_model, make_request
from plot import svg_of_panels
from torch import Tensor, nn
from torch._inductor import aoti_compile_and_package, aoti_load_package

from modern.transformer.config import TransformerConfig

RESULTS = Path(__file__).parent / "results"
# The size: 500 candidates, 500 steps, width 64, 2 + 2 layers.
CONFIG = TransformerConfig(
    width=64, num_heads=4, feed_forward=128, history_layers=2, request_layers=1, num_layers=2
)
CANDIDATES = STEPS = 500
SIZES = (50, 100, 200, 500, 1000)
Run = Callable[[], Tensor]


def main() -> None:
    """Measure, print, and write results/serving_cpu.md with its figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    layout = layout_of_synthetic()
    forms = eager_forms(layout)
    request = tensors(layout, CANDIDATES, STEPS)
    runs = {name: bound(form, request) for name, form in forms.items()}
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("shared", "prototype", "prototype, request once"):
                program = compiled(forms[name], request, Path(folder) / f"{len(runs)}.pt2")
                runs[f"{name}, AOTInductor"] = bound(program, request)
            table = report(runs, options.repeats)
    else:
        table = report(runs, options.repeats)
    print(table)
    if not options.quick:
        write(table, sweeps(layout, forms, repeats=max(options.repeats // 3, 3)))


def eager_forms(layout: object) -> dict[str, nn.Module]:
    """The forms by name, the slowest first."""
    shared = make_model(layout, form="shared", config=CONFIG)
    return {
        "plain": make_model(layout, form="plain", config=CONFIG),
        "prototype": Prototype(shared, shares_request=False),
        "prototype, request once": Prototype(shared, shares_request=True),
        "shared": shared,
    }


def tensors(layout: object, candidates: int, steps: int) -> tuple[Tensor, ...]:
    """The arguments of one request."""
    request, scored = make_request(layout, candidates=candidates, steps=steps)
    return (*request, *scored)


def bound(form: Callable[..., Tensor], request: tuple[Tensor, ...]) -> Run:
    """The form with its arguments."""
    return lambda: form(*request)


def compiled(form: nn.Module, request: tuple[Tensor, ...], path: Path) -> Callable[..., Tensor]:
    """An ahead-of-time compiled package of the form, for this size."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, inside of its export
        program = torch.export.export(form, request)
        aoti_compile_and_package(program, package_path=str(path))
    loaded: Callable[..., Tensor] = aoti_load_package(str(path))
    return loaded


def cpu_ms(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of CPU time of each run, taken in turn; a slow one is taken less often."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    slow = {name for name, run in runs.items() if once(run) > 500}
    with torch.inference_mode():
        for turn in range(repeats):
            for name, run in runs.items():
                if name not in slow or turn < 3:
                    taken[name].append(once(run))
    return taken


def once(run: Run) -> float:
    """CPU milliseconds of one call."""
    with torch.inference_mode():
        before = time.process_time()
        run()
        return (time.process_time() - before) * 1e3


def report(runs: Mapping[str, Run], repeats: int) -> str:
    """The table of the issue's size."""
    with torch.inference_mode():
        expected = runs["shared"]()
        apart = {name: float((run() - expected).abs().max()) for name, run in runs.items()}
    # A logit sums some 10^4 float32 products: 1e-4 is rounding, and any other function is not.
    assert max(apart.values()) < 1e-4, f"not the same function: {apart}"
    taken = cpu_ms(runs, repeats)
    middle = {name: statistics.median(times) for name, times in taken.items()}
    lines = [
        (
            f"{CANDIDATES} candidates, {STEPS} steps, width {CONFIG.width}, "
            f"{CONFIG.history_layers} + {CONFIG.num_layers} layers, one thread"
        ),
        "",
        "| form | CPU ms, median | least | times `shared` | largest difference of a logit |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, times in taken.items():
        lines.append(
            f"| {name} | {middle[name]:.1f} | {min(times):.1f} | "
            f"{middle[name] / middle['shared']:.2f} | {apart[name]:.1e} |"
        )
    lines += [
        "",
        f"- plain / shared: {middle['plain'] / middle['shared']:.0f}x (target 40)",
        f"- prototype / shared, both eager: {middle['prototype'] / middle['shared']:.2f}x (target 1.3)",
    ]
    if "shared, AOTInductor" in middle:
        best = min(middle[name] for name in middle if name.startswith("prototype"))
        ours = middle["shared, AOTInductor"]
        lines += [
            f"- prototype / shared, both compiled: {middle['prototype, AOTInductor'] / ours:.2f}x",
            f"- the prototype's best of all / shared compiled: {best / ours:.2f}x",
        ]
    return "\n".join(lines)


def sweeps(
    layout: object, forms: Mapping[str, nn.Module], *, repeats: int
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Median CPU milliseconds by candidates, and by steps."""
    chosen = {name: forms[name] for name in ("plain", "prototype", "shared")}
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for axis in ("candidates", "steps"):
        lines: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for size in SIZES:
            at = (size, STEPS) if axis == "candidates" else (CANDIDATES, size)
            request = tensors(layout, *at)
            taken = cpu_ms({n: bound(form, request) for n, form in chosen.items()}, repeats)
            for name, times in taken.items():
                lines[name].append((float(size), statistics.median(times)))
            print(f"{axis} {size}: " + ", ".join(f"{n} {v[-1][1]:.1f}" for n, v in lines.items()))
        found[axis] = lines
    return found


def write(table: str, found: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """The results of this machine."""
    RESULTS.mkdir(exist_ok=True)
    facts = (
        f"{machine()}, Python {platform.python_version()}, torch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f}; `python benchmarks/serving_cpu/run.py`"
    )
    text = f"# One request on one thread\n\n{facts}\n\n{table}\n\n![cost](serving_cpu.svg)\n"
    (RESULTS / "serving_cpu.md").write_text(text, encoding="utf-8")
    (RESULTS / "serving_cpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    panels = [
        (f"{STEPS} steps", "candidates", found["candidates"]),
        (f"{CANDIDATES} candidates", "steps", found["steps"]),
    ]
    (RESULTS / "serving_cpu.svg").write_text(svg_of_panels(panels), encoding="utf-8")


def machine() -> str:
    """What the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
