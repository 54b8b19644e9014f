"""Rows of the benchmark: one precision in one mode at one number of requests, timed and checked."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from modern.bench.accuracy import Accuracy, accuracy_of, exact_logits
from modern.bench.floor import Rates, count_work
from modern.bench.timing import time_device, time_host
from modern.engine.buckets import Pass, whole_pass
from modern.engine.config import Device, EngineConfig, Mode, Precision
from modern.engine.engine import Engine
from modern.engine.old_cache import without_old
from modern.engine.programs import Program
from modern.engine.staging import Staging, steps_read, widths_of
from modern.transformer.inputs import ModelInputs
from modern.transformer.model import RankingTransformer

Form = Literal["shared", "cached", "plain"]
# Enough that no run finds the last one's inputs in a cache; their results are compared too.
NUM_INPUTS = 8
# 8 x 32 old segments of 500 steps at width 64 take 170 MB.
_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured.

    Attributes:
        form: "plain" computes everything for each candidate by itself: what is saved by sharing.
            "cached" is "shared" with every old segment encoded before.
        precision, mode: Of the engine.
        requests: Scored together.
    """

    form: Form
    precision: Precision
    mode: Mode
    requests: int

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.form} {self.precision} {self.mode} x{self.requests}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was found.

    Attributes:
        case: What was measured.
        device_p50_ms, device_p99_ms: Of a pass on the device, inputs there already.
        call_p50_ms, call_p99_ms: From numpy inputs to numpy logits.
        candidates_per_s: Of whole calls.
        first_s: Making the engine and its first call: compiling and recording.
        floor_ms: Of a pass, the copy from the host included.
        accuracy: Against float64.
        against_fp32: Against the same engine's own fp32, where that was run before.
        failed: What went wrong, in place of figures.
    """

    case: Case
    device_p50_ms: float = float("nan")
    device_p99_ms: float = float("nan")
    call_p50_ms: float = float("nan")
    call_p99_ms: float = float("nan")
    candidates_per_s: float = float("nan")
    first_s: float = float("nan")
    floor_ms: float = float("nan")
    accuracy: Accuracy | None = None
    against_fp32: Accuracy | None = None
    failed: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN, which JSON has not, is None."""
        plain = dataclasses.asdict(self)
        return {key: None if value != value else value for key, value in plain.items()}  # noqa: PLR0124 - NaN


class Bench:
    """A model, its inputs, and the logits they have to give."""

    def __init__(
        self,
        model: RankingTransformer,
        inputs: Sequence[tuple[int, Sequence[ModelInputs]]],
        *,
        device: Device,
        rates: Rates | None,
        seconds: float,
        max_old: int,
    ) -> None:
        self.model = model
        self.inputs = dict(inputs)
        self.device = device
        self.rates = rates
        self.seconds = seconds
        self.max_old = max_old
        self._exact: dict[int, NDArray[np.float64]] = {}
        self._fp32: dict[int, NDArray[np.float32]] = {}

    def rows(self, cases: Sequence[Case]) -> Iterator[Row]:
        """One a case, in order; a case that fails does not end the others."""
        for case in cases:
            try:
                yield self._row(case)
            except Exception as error:  # noqa: BLE001 - the others' figures are worth having
                text = " ".join(str(error).split())[:300]
                yield Row(case=case, failed=f"{type(error).__name__}: {text}")

    def _row(self, case: Case) -> Row:
        inputs = self.inputs[case.requests]
        config = EngineConfig(
            device=self.device,
            precision=case.precision,
            mode=case.mode,
            max_requests=case.requests,
            max_candidates=1 << 30,  # one pass, whatever it holds: that is what is measured
            cache_bytes=_CACHE_BYTES if case.form == "cached" else 0,
        )
        began = time.perf_counter()
        engine = Engine(_in_form(self.model, case.form), config, max_old=self.max_old)
        engine.logits(inputs[0])
        first_s = time.perf_counter() - began
        if not self.seconds:  # only what is compiled on the way was wanted
            return Row(case=case, first_s=first_s)
        compared = inputs[: 1 if case.form == "plain" else None]
        found = np.concatenate([engine.logits(one) for one in compared])
        exact = self._exact_logits(case.requests)[: len(found)]
        own = self._fp32.setdefault(case.requests, found) if case.precision == "fp32" else (
            self._fp32.get(case.requests)
        )  # fmt: skip
        passes = [_whole(one, cached=engine.cache is not None) for one in inputs]
        staged: list[Program] = []

        def prepare(place: int) -> None:
            at = place % len(inputs)
            staged[:] = [engine.staged(inputs[at], passes[at])[0]]
            staged[0].staging.send()

        def run() -> object:
            return staged[0].run()

        on_device = time_device(prepare, run, device=self.device, seconds=self.seconds)
        called = time_host(
            lambda place: engine.logits(inputs[place % len(inputs)]), seconds=self.seconds
        )
        assert self.rates is not None, "measured wherever something is timed"
        work = count_work(self.model, self._staging(inputs[0]), case.precision)
        return Row(
            case=case,
            device_p50_ms=on_device.quantile(0.5),
            device_p99_ms=on_device.quantile(0.99),
            call_p50_ms=called.quantile(0.5),
            call_p99_ms=called.quantile(0.99),
            candidates_per_s=inputs[0].num_candidates / called.quantile(0.5) * 1e3,
            first_s=first_s,
            floor_ms=work.floor_ms(self.rates, case.precision),
            accuracy=accuracy_of(found, exact),
            against_fp32=None if own is None else accuracy_of(found, own[: len(found)]),
        )

    def _staging(self, inputs: ModelInputs) -> Staging:
        """What a pass without a cache is fed: the floor is that of the whole computation."""
        one = _whole(inputs, cached=False)
        staging = Staging(one.bucket, widths_of(inputs), torch.device(self.device))
        staging.fill(inputs, one)
        staging.send()
        return staging

    def _exact_logits(self, requests: int) -> NDArray[np.float64]:
        if requests not in self._exact:
            inputs = self.inputs[requests]
            found = [exact_logits(self.model, one, self.device) for one in inputs]
            self._exact[requests] = np.concatenate(found)
        return self._exact[requests]


def _in_form(model: RankingTransformer, form: Form) -> RankingTransformer:
    """The same weights in another form: "plain" is the same function."""
    if form != "plain":
        return model
    made = copy.copy(model)
    made.config = dataclasses.replace(model.config, form="plain")
    return made


def _whole(inputs: ModelInputs, *, cached: bool) -> Pass:
    read = without_old(inputs) if cached else inputs
    return whole_pass(steps_read(read), np.diff(inputs.candidate_offsets))


def device_name(device: Device) -> str:
    """The accelerator's own name, or the processor's."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a device file of the kernel
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "cpu"
