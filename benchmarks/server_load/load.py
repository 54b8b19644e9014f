"""An open-loop load: requests leave at their own times, whether the server keeps up or not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LOST = 0  # in place of a status: the connection ended without an answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request's end: its HTTP status or LOST, from when it was due, in seconds."""

    status: int
    due: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send to, and which deadline to ask for."""

    host: str
    port: int
    path: str
    deadline_ms: float

    def message(self, body: bytes) -> bytes:
        """The request as it goes over the wire."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Type: application/json\r\nX-Deadline-Ms: {self.deadline_ms:g}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class _Connections:
    """Kept-alive connections; a request that finds none free opens another."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, message: bytes) -> int:
        try:
            pair = self.free.pop() if self.free else await self._open()
            reader, writer = pair
            writer.write(message)
            status, keeps = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            return LOST
        if keeps:
            self.free.append(pair)
        else:
            writer.close()
        return status

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.target.host, self.target.port, limit=1 << 20)

    def close(self) -> None:
        for _, writer in self.free:
            writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(maxsplit=2)[1])
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return status, "connection: close" not in head


async def offer_load(
    target: Target, bodies: Sequence[bytes], *, rate: float, seconds: float
) -> list[Outcome]:
    """Send `rate` requests a second for so long, evenly, and wait for every one's end."""
    messages = [target.message(body) for body in bodies]
    connections = _Connections(target)
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def one(number: int) -> None:
        due = number / rate
        status = await connections.ask(messages[number % len(messages)])
        outcomes.append(Outcome(status, due, time.perf_counter() - start - due))

    pending: set[asyncio.Task[None]] = set()
    for number in range(int(rate * seconds)):
        wait = start + number / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(number))
        pending.add(task)
        task.add_done_callback(pending.discard)
        if number % 16 == 0:
            await asyncio.sleep(0)  # a sender behind its schedule still reads answers
    if pending:
        await asyncio.wait(pending)
    connections.close()
    return outcomes


@dataclass(frozen=True, slots=True)
class Summary:
    """What a load met.

    Attributes:
        sent: Requests.
        by_status: HTTP status, or LOST, to how many.
        p50_ms, p99_ms: Of those answered with 200, from when each was due.
        admitted_late: Taken on and not answered in time (504, or 200 after the deadline).
    """

    sent: int
    by_status: dict[int, int]
    p50_ms: float
    p99_ms: float
    admitted_late: int


def summary_of(outcomes: Sequence[Outcome], *, deadline_ms: float) -> Summary:
    """Count and sort."""
    times = sorted(one.seconds * 1e3 for one in outcomes if one.status == 200)
    statuses = Counter(one.status for one in outcomes)
    late = sum(ms > deadline_ms for ms in times) + statuses[504]

    def quantile(q: float) -> float:
        return times[min(len(times) - 1, int(q * len(times)))] if times else float("nan")

    return Summary(len(outcomes), dict(statuses), quantile(0.5), quantile(0.99), late)
