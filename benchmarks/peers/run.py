"""Four faults in a transformer ranker, found by parity and looked at with Polygraphy, side by side.

    .venv/bin/python benchmarks/peers/run.py            # some minutes; makes an environment, writes results/

Both get the same requests, the same two ONNX files and one thread. parity runs `replay` (every
request, causes, shares, diagnosis, bundles, canary); Polygraphy runs the reference with all tensors
marked and saved, then the challenger against what was saved: its documented way to compare two models layer by layer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
WORK = ROOT / "build" / "peers"
DAY = "2026-01-05"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

LOADER = '''"""Feeds Polygraphy one request after another."""
import numpy as np


def load_data():
    kept = np.load({path!r})
    for request in range(int(kept["requests"])):
        yield {{name: kept[f"{{name}}_{{request}}"] for name in ("numbers", "history", "mask")}}
'''
CONFIG = """logs: logs
runs: runs
cache: null
stacks:
  reference: {{open: 'replay.adapters.onnx_graph:open_stack', artifact: reference.onnx, options: {options}}}
{challengers}
plans:
  - {{reference: reference, challenger: '*', outputs: bounded, same_training: false}}
"""


def main() -> None:
    """Write the models, run both tools on each fault, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=25)
    parser.add_argument("--candidates", type=int, default=10)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    _prepare(options.requests, options.candidates)
    polygraphy = _environment()
    rows = [_row(name, polygraphy) for name in ("A", "B", "C", "D")]
    text = _table(rows, options.requests, options.candidates)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.md").write_text(text, encoding="utf-8")
    (RESULTS / "peers.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _prepare(requests: int, candidates: int) -> None:
    """Graphs, a logged day, its inputs as both sides compute them, and a parity.yaml."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "import ranker; ranker.write(Path(sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(HERE), str(WORK)], check=True, cwd=ROOT)
    shell = ["-m", "parity", "logs", "import", "synthetic", "--out", str(WORK / "logs")]
    size = ["--days", "1", "--requests", str(requests), "--candidates", str(candidates)]
    subprocess.run([sys.executable, *shell, *size], check=True, cwd=ROOT, capture_output=True)
    sys.path[:0] = [str(HERE)]
    import numpy as np
    import ranker

    from replay.logs.parquet import open_day, read_shard
    from replay.request import concat_batches

    day = open_day(WORK / "logs", __import__("datetime").date.fromisoformat(DAY))
    batch = concat_batches(read_shard(shard).batch for shard in day.shards)
    for function in ("inputs", "inputs_with_log"):
        arrays = getattr(ranker, function)(batch)
        edges = batch.keys.candidate_offsets
        kept: dict[str, Any] = {"requests": np.array(batch.num_requests)}
        for request in range(batch.num_requests):
            part = slice(edges[request], edges[request + 1])
            kept |= {f"{name}_{request}": array[part] for name, array in arrays.items()}
        np.savez(WORK / f"{function}.npz", **kept)
        loader = LOADER.format(path=str(WORK / f"{function}.npz"))
        (WORK / f"load_{function}.py").write_text(loader, encoding="utf-8")
    lines = []
    for name, (_, function, _) in ranker.FAULTS.items():
        own = json.dumps({**ranker.OPTIONS, "inputs": f"ranker:{function}", "example": "logs"})
        lines.append(
            f"  {name}: {{open: 'replay.adapters.onnx_graph:open_stack', artifact: {name}.onnx, "
            f"options: {own}}}"
        )
    own = json.dumps({**ranker.OPTIONS, "inputs": "ranker:inputs", "example": "logs"})
    config = CONFIG.format(options=own, challengers="\n".join(lines))
    (WORK / "parity.yaml").write_text(config, encoding="utf-8")


def _environment() -> Path:
    """Polygraphy in an environment of its own."""
    folder = WORK / "venv"
    program = folder / "bin" / "polygraphy"
    if not program.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "-r", str(HERE / "requirements.txt")]
        subprocess.run(pip, check=True)
    return program


def _row(name: str, polygraphy: Path) -> dict[str, Any]:
    import ranker

    _, function, expected = ranker.FAULTS[name]
    ours = _measured(
        [sys.executable, "-m", "parity", "replay", "--config", str(WORK / "parity.yaml"),
         "--date", DAY, "--reference", "reference", "--challenger", name],
        PYTHONPATH=f"{ROOT}{os.pathsep}{HERE}",
    )  # fmt: skip
    named = re.findall(r"^DIVERGED\s+(\S+) is where", ours["output"], flags=re.MULTILINE)
    saved = str(WORK / "reference.json")
    first = _run_all(polygraphy, "reference", "inputs", "--save-outputs", saved)
    second = _run_all(polygraphy, name, function, "--load-outputs", saved)
    failed = _failed(second["output"])
    return {
        "fault": name,
        "expected": list(expected),
        "parity": {
            "named": named,
            "exit": ours["exit"],
            "cpu_s": ours["cpu_s"],
            "lines": ours["lines"],
        },
        "polygraphy": {
            "failed": len(failed),
            "exit": second["exit"],
            "cpu_s": round(first["cpu_s"] + second["cpu_s"], 1),
            "lines": first["lines"] + second["lines"],
        },
    }


def _failed(output: str) -> set[str]:
    """Tensors that Polygraphy says differ."""
    listed = re.findall(r"FAILED \| Mismatched outputs: \[([^\]]*)\]", output)
    singly = re.findall(r"FAILED \| Output: '([^']+)'", output)
    return {name.strip(" '") for one in listed for name in one.split(",")} | set(singly)


def _run_all(polygraphy: Path, graph: str, function: str, *more: str) -> dict[str, Any]:
    """Polygraphy on one graph with every tensor an output."""
    done = _measured(
        [str(polygraphy), "run", str(WORK / f"{graph}.onnx"), "--onnxrt", "--onnx-outputs", "*",
         "--data-loader-script", str(WORK / f"load_{function}.py"), *more]
    )  # fmt: skip
    assert "Traceback" not in done["output"] and "[!]" not in done["output"], done["output"]
    return done


def _measured(command: list[str], **variables: str) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        env={**os.environ, **ONE_THREAD, "NO_COLOR": "1", **variables},
        cwd=WORK,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = done.stdout + done.stderr
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "exit": done.returncode,
        "cpu_s": round(spent, 1),
        "lines": output.count("\n"),
        "output": output,
    }


def _table(rows: list[dict[str, Any]], requests: int, candidates: int) -> str:
    machine = f"{platform.machine()}, load {os.getloadavg()[0]:.1f}"
    lines = [
        f"{requests} requests of {candidates} candidates, one thread, CPU seconds of all processes; {machine}.",
        "",
        "| fault | to be named | parity names | CPU s | lines | Polygraphy's failed tensors | CPU s | lines | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ours, theirs = row["parity"], row["polygraphy"]
        lines.append(
            f"| {row['fault']} | {', '.join(row['expected'])} | {', '.join(ours['named'])} | {ours['cpu_s']} | "
            f"{ours['lines']} | {theirs['failed']} | {theirs['cpu_s']} | {theirs['lines']} | "
            f"{theirs['cpu_s'] / ours['cpu_s']:.1f}x |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
