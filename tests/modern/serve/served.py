"""A toy stack with a known price, and a real server process around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from replay.request import TIMESTAMP, RequestBatch, batch_from_records
from replay.trace import EMPTY, Array, Trace
from tests.toys import SCHEMA as TOY_SCHEMA
from tests.toys import ToyStack, toy_batch

STEP = pa.struct({"ad_id": pa.int64(), "action": pa.string(), "at": TIMESTAMP})
SCHEMA = pa.schema(
    [pa.field(f.name, pa.list_(STEP) if f.name == "history" else f.type) for f in TOY_SCHEMA]
)
EMPTY_SCALE: Mapping[str, float] = MappingProxyType({})
ROOT = Path(__file__).parents[3]


def logged_batch(num_requests: int, *, seed: int = 0) -> RequestBatch:
    """Toy requests whose history says what was done: valid rows of a log."""
    records = toy_batch(num_requests, seed=seed).records.to_pylist()
    for record in records:
        record["history"] = [step | {"action": "click"} for step in record["history"]]
    return batch_of(*records)


def batch_of(*records: Mapping[str, Any]) -> RequestBatch:
    """A batch of these records."""
    return batch_from_records(pa.Table.from_pylist(list(records), schema=SCHEMA))


class PricedStack(ToyStack):
    """A toy that sleeps for each candidate: its capacity is known, whatever the machine."""

    row_s = 0.0
    base_s = 0.0

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        if "poison" in batch.keys.request_ids.to_pylist():
            raise RuntimeError("poisoned")
        time.sleep(self.base_s + batch.num_candidates * self.row_s)
        return super().score(batch, capture=capture, given=given)


def open_stack(
    *, base_ms: float = 0.0, row_ms: float = 0.0, scale: Mapping[str, float] = EMPTY_SCALE
) -> PricedStack:
    bugs = {place: lambda values, by=factor: values * by for place, factor in scale.items()}
    stack = PricedStack(bugs=bugs)
    stack.base_s, stack.row_s = base_ms / 1e3, row_ms / 1e3
    return stack


class Server:
    """A server process and its address."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "modern", "serve", "--model", "toy"),
                *("--stack", "tests.modern.serve.served:open_stack", *arguments),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " at http://" in line, line + self.process.communicate(timeout=30)[0]
        self.url = line.split(" at ")[1].split("/v2/")[0]
        self.port = int(self.url.rsplit(":", 1)[1])

    def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] = EMPTY
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body, whatever the status."""
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers))
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def infer(self, body: Any, headers: Mapping[str, str] = EMPTY) -> tuple[int, Any]:
        """POST a JSON body to the model, and read the answer's JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.ask("/v2/models/toy/infer", data, headers)
        return status, json.loads(answer)

    def memory_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def counter(self, outcome: str) -> int:
        """serve_requests_total of an outcome."""
        page = self.ask("/metrics")[2].decode()
        line = next(x for x in page.splitlines() if f'requests_total{{outcome="{outcome}"}}' in x)
        return int(float(line.split()[-1]))


@contextmanager
def serving(*arguments: str, port: int = 0) -> Iterator[Server]:
    """A server, ended with SIGTERM unless the test ended it."""
    server = Server("--port", str(port), *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)
        assert server.process.stdout is not None
        server.process.stdout.close()
