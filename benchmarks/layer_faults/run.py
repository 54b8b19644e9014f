"""139 faults of a transformer's layers in three back ends: how many are named exactly, how many wrongly.

    .venv/bin/python benchmarks/layer_faults/run.py            # ten minutes of one core; writes results/
    .venv/bin/python benchmarks/layer_faults/run.py --every 7  # a seventh of the faults

The reference is the model in PyTorch. The challenger is a copy of it in PyTorch (`eager`), the same
model written again with sums from left to right (`sequential`), and its export on ONNX Runtime
(`onnx`), each with one fault. Tolerances are those of `parity calibrate`, measured on the reference.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
sys.path[:0] = [str(ROOT), str(HERE)]

import onnx  # noqa: E402  # after the paths
import torch  # noqa: E402
from faults import LayerFault, faults, planted  # noqa: E402
from features import inputs  # noqa: E402
from model import Transformer, transformer  # noqa: E402
from sequential import sequential  # noqa: E402

from parity.calibrate import alignment_to_measure, calibrate  # noqa: E402
from parity.compare.alignment import align  # noqa: E402
from parity.drill.bench import Bench, named, open_bench  # noqa: E402
from parity.drill.benign import Variation, own_variations, variations  # noqa: E402
from parity.drill.benign_runs import run_benign  # noqa: E402
from parity.drill.question import plainly  # noqa: E402
from parity.plan import Plan  # noqa: E402
from replay.adapters.model_stack import ModelStack, features_of  # noqa: E402
from replay.adapters.onnx_graph import open_stack as open_graph  # noqa: E402
from replay.adapters.torch_module import stack_from_module  # noqa: E402
from replay.logs.parquet import open_day, read_shard  # noqa: E402
from replay.logs.synthetic import SyntheticLog, import_synthetic  # noqa: E402
from replay.request import RequestBatch, concat_batches  # noqa: E402

REQUESTS = 48
# Every fourth benign variation of the drill: orders, sizes, padding, recordings, forms.
EVERY_BENIGN = 4

Make = Callable[[Transformer], ModelStack]


def main() -> None:
    """Plant, count, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every so many-th fault")
    parser.add_argument("--backends", nargs="*", default=["eager", "sequential", "onnx"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        batch = _batch(Path(folder))
        model = transformer()
        reference = from_module(model, batch)
        chosen = faults()[:: options.every]
        found = {
            name: run_backend(Backend(name, make, reference, model, batch), chosen, Path(folder))
            for name, make in _makes(reference, batch).items()
            if name in options.backends
        }
    text = _table(found, len(reference.checkpoints), len(chosen))
    print(text)
    if options.every == 1 and len(found) == 3:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "layer_faults.md").write_text(text, encoding="utf-8")
        (RESULTS / "layer_faults.json").write_text(
            json.dumps(found, indent=1) + "\n", encoding="utf-8"
        )


def from_module(model: Transformer, batch: RequestBatch) -> ModelStack:
    """A PyTorch module as a stack."""
    features = features_of(
        inputs, batch, rows="candidate", request_inputs=(), columns={}, nan_is_missing=()
    )
    return stack_from_module(model, features=features, example=batch.slice(0, 8), logit="return")


def export(model: Transformer, path: Path, **options: Any) -> Path:
    """Write the model as an ONNX graph that takes any number of candidates."""
    arrays = (torch.ones(3, 8, 6), torch.ones(3, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs a package more
        torch.onnx.export(
            model.eval(),
            arrays,
            str(path),
            dynamo=False,
            input_names=["steps", "mask"],
            output_names=["logit"],
            dynamic_axes={"steps": {0: "rows"}, "mask": {0: "rows"}},
            **{"opset_version": 17, **options},
        )
    return path


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """Where challengers run: how one is made of a model, and what it is compared with."""

    name: str
    make: Make
    reference: ModelStack
    model: Transformer
    batch: RequestBatch


def _makes(reference: ModelStack, batch: RequestBatch) -> dict[str, Make]:
    translated = from_module(sequential(deepcopy(transformer())), batch)

    def eager(model: Transformer) -> ModelStack:
        return _with_module(reference, model)

    def one_by_one(model: Transformer) -> ModelStack:
        return _with_module(translated, sequential(deepcopy(model)))

    return {"eager": eager, "sequential": one_by_one, "onnx": exported_anew(batch)}


def exported_anew(batch: RequestBatch, **options: Any) -> Make:
    """Export a model to a file and open that."""

    def make(model: Transformer) -> ModelStack:
        with tempfile.TemporaryDirectory() as folder:
            return opened(export(model, Path(folder) / "model.onnx", **options), batch)

    return make


def opened(path: Path, batch: RequestBatch) -> ModelStack:
    """An ONNX file as a stack."""
    global EXAMPLE  # noqa: PLW0603  # an opener names its example as a function
    EXAMPLE = batch.slice(0, 8)
    return open_graph(path, inputs="features:inputs", example=f"{__name__}:example", logit="logit")


EXAMPLE: RequestBatch


def example() -> RequestBatch:
    """What a graph is traced with."""
    return EXAMPLE


def _with_module(stack: ModelStack, model: Transformer) -> ModelStack:
    """The stack around another module of the same shape: nothing is traced again."""
    program = copy(stack.program)
    program.module = model.eval()  # type: ignore[attr-defined]  # a TorchProgram
    return replace(stack, program=program)


def run_backend(own: Backend, chosen: Sequence[LayerFault], folder: Path) -> dict[str, Any]:
    """Each fault alone, then what must not matter."""
    reference, clean = own.reference, own.make(deepcopy(own.model))
    plan = Plan(same_training=False)
    aligned = alignment_to_measure(reference.checkpoints, clean.checkpoints, plan)
    measured = calibrate(reference, clean, own.batch, aligned)
    plan = replace(plan, tolerances=dict(measured.tolerances))
    alignment = align(reference.checkpoints, clean.checkpoints, plan)
    bench = open_bench(reference, clean, own.batch, alignment)
    start, rows = time.process_time(), []
    for fault in chosen:
        rows.append(_row(bench, own.make(planted(own.model, fault)), fault))
        print(own.name, *rows[-1].values(), flush=True)
    spent = time.process_time() - start
    few = open_bench(reference, clean, own.batch.slice(0, 24), alignment)
    return {
        "compared": len(alignment.pairs),
        "clean": sorted(named(bench.probe(bench.clean))),
        "faults": rows,
        "benign": list(_benign(few, clean, own, folder)),
        "cpu_s_a_fault": round(spent / max(len(rows), 1), 2),
    }


def _row(bench: Bench, challenger: ModelStack, fault: LayerFault) -> dict[str, Any]:
    local = challenger.score(bench.batch, capture=bench.capture, given=bench.given)
    groups = named(bench.probe(local))
    exact = len(groups) == 1 and fault.place in next(iter(groups.values()))
    wrong = [one for one, group in groups.items() if fault.place not in group]
    result = "exact" if exact else "wrong" if wrong else "missed"
    return {"fault": fault.name, "at": fault.place, "named": list(groups), "result": result}


def _benign(few: Bench, clean: ModelStack, own: Backend, folder: Path) -> Iterator[dict[str, Any]]:
    asked = [*list(variations(("layer",)))[::EVERY_BENIGN], *own_variations(clean)]
    runs = [(clean, asked)]
    others = {"built again": own.make(deepcopy(own.model))}
    if own.name == "onnx":
        others |= dict(_exports(own.model, own.batch, folder))
    runs += [(stack, [Variation(name=what, ask=plainly)]) for what, stack in others.items()]
    for stack, several in runs:
        for one in run_benign(few, stack, several):
            yield {"name": one.name, "alarms": list(one.alarms), "failed": one.failed}


def _exports(
    model: Transformer, batch: RequestBatch, folder: Path
) -> Iterator[tuple[str, ModelStack]]:
    """The same model exported otherwise, and its graph rewritten without a change of meaning."""
    for opset in (14, 15, 16, 18, 20):
        yield f"opset {opset}", exported_anew(batch, opset_version=opset)(model)
    yield "constants not folded", exported_anew(batch, do_constant_folding=False)(model)
    path = export(model, folder / "plain.onnx")
    yield "no-ops inserted", opened(_with_no_ops(path, folder / "no_ops.onnx"), batch)
    yield "weights renamed", opened(_with_other_names(path, folder / "renamed.onnx"), batch)


def _with_no_ops(path: Path, target: Path) -> Path:
    """An Identity before every matrix product."""
    graph = onnx.load(str(path))
    nodes = []
    for node in graph.graph.node:
        if node.op_type == "MatMul":
            name = f"{node.output[0]}_input"
            nodes.append(onnx.helper.make_node("Identity", [node.input[0]], [name]))
            node.input[0] = name
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(copies)
    onnx.save(graph, str(target))
    return target


def _with_other_names(path: Path, target: Path) -> Path:
    """Initializers in another order, under other names."""
    graph = onnx.load(str(path))
    names = {one.name: f"w{place}" for place, one in enumerate(graph.graph.initializer)}
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    turned = [
        onnx.TensorProto.FromString(one.SerializeToString()) for one in graph.graph.initializer
    ]
    del graph.graph.initializer[:]
    for one in reversed(turned):
        one.name = names[one.name]
        graph.graph.initializer.append(one)
    onnx.save(graph, str(target))
    return target


def _batch(folder: Path) -> RequestBatch:
    log = SyntheticLog(days=1, requests=REQUESTS, candidates=8, seed=7)
    days = list(import_synthetic(folder / "logs", log))
    day = open_day(folder / "logs", days[0].day)
    return concat_batches(read_shard(shard).batch for shard in day.shards)


def _table(found: Mapping[str, Any], checkpoints: int, count: int) -> str:
    lines = [
        f"{count} faults of a transformer with {checkpoints} checkpoints, inputs and outputs included.",
        "",
        "| back end | compared | exact | missed | wrong | benign | false alarms | CPU s a fault |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        results = [row["result"] for row in one["faults"]]
        alarms = sum(bool(b["alarms"]) or b["failed"] is not None for b in one["benign"])
        lines.append(
            f"| {name} | {one['compared']} | {results.count('exact')} | {results.count('missed')} | "
            f"{results.count('wrong')} | {len(one['benign'])} | {alarms} | {one['cpu_s_a_fault']} |"
        )
    inexact = any(row["result"] != "exact" for one in found.values() for row in one["faults"])
    lines += ["", "Not exact:", ""] if inexact else [""]
    for name, one in found.items():
        for row in one["faults"]:
            if row["result"] != "exact":
                said = ", ".join(row["named"]) or "nothing"
                lines.append(f"- {name}: {row['fault']} at {row['at']}: {said} is named")
        for benign in one["benign"]:
            if benign["alarms"] or benign["failed"]:
                lines.append(
                    f"- {name}, benign, {benign['name']}: {benign['alarms']}{benign['failed'] or ''}"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
