from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modern.__main__ import main
from modern.bench.floor import Rates, Work, count_work
from modern.bench.shapes import Shape, random_inputs, random_model
from modern.engine.buckets import whole_pass
from modern.engine.staging import Staging, steps_read, widths_of

SMALL = (
    "--candidates",
    "12",
    "--history",
    "9",
    "--width",
    "32",
    "--heads",
    "2",
    "--seconds",
    "0.01",
)


def test_every_precision_and_form_of_a_cpu_is_timed_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"

    code = main(["bench", *SMALL, "--requests", "2", "--out", str(out)])

    table = capsys.readouterr().out
    figures = json.loads(out.read_text())
    cases = {(r["case"]["form"], r["case"]["precision"]): r for r in figures["rows"]}
    assert code == 0 and "candidates/s" in table
    assert set(cases) == {
        *(("shared", p) for p in ("fp32", "bf16", "int8")),
        *(("cached", p) for p in ("fp32", "bf16")),
        *(("plain", p) for p in ("fp32", "bf16", "int8")),
    }
    for (_, precision), row in cases.items():
        assert 0 < row["device_p50_ms"] <= row["device_p99_ms"]
        assert row["floor_ms"] > 0
        error = row["accuracy"]["logit_error"]
        assert error < 1e-4 if precision == "fp32" else 1e-4 < error < 0.2
    assert figures["device"] and figures["rates"]["product_flop_s"]["bf16"] > 0


def test_a_case_that_fails_is_said_and_the_others_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from modern.engine import engine

    def broken(*_: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(engine, "compiled", broken)

    one = ("--form", "shared", "--requests", "1", "--precision", "fp32")
    code = main(["bench", *SMALL, *one, "--mode", "compiled", "--mode", "eager"])

    table = capsys.readouterr().out
    assert code == 1
    assert "failed: shared fp32 compiled x1: RuntimeError: no compiler here" in table
    assert "eager" in table


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--form", "none"], "no form is called 'none'"),
        (["--precision", "fp4"], "no precision is called 'fp4'"),
        (["--mode", "graph"], "records a CUDA graph"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_timed(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")

    assert main(["bench", "--device", "cuda"]) == 2
    assert "torch sees no GPU" in capsys.readouterr().err


def test_work_is_counted_from_the_shapes() -> None:
    """Against the sums by hand of one product-heavy part: twice the candidates, twice that part."""
    shape = Shape(candidates=16, history=8, width=32, heads=2, feed_forward=64)
    model = random_model(shape)

    def flop(candidates: int) -> float:
        inputs = random_inputs(
            Shape(candidates=candidates, history=8, width=32, heads=2, feed_forward=64),
            requests=1, seed=0,
        )  # fmt: skip
        one = whole_pass(steps_read(inputs), inputs.candidate_offsets[1:])
        staging = Staging(one.bucket, widths_of(inputs), torch.device("cpu"))
        staging.fill(inputs, one)
        return count_work(model, staging, "fp32").flop

    of_candidates = flop(32) - flop(16)
    tokens, width, inner = 10, 32, 64
    layer = 16 * tokens * 2 * (3 * width * width + width * width + 2 * width * inner)
    assert layer < of_candidates < 2 * layer


def test_the_floor_is_the_longer_of_arithmetic_and_memory_after_the_copy() -> None:
    rates = Rates(
        copy_bytes_s=1e9, to_device_bytes_s=1e8, product_flop_s={"fp32": 1e12, "bf16": 1e9}
    )
    work = Work(flop=1e9, bytes=1e7, staged_bytes=1e5)

    assert work.floor_ms(rates, "fp32") == pytest.approx(10 + 1)
    assert work.floor_ms(rates, "bf16") == pytest.approx(1000 + 1)
