"""The memory of a process and everything it started, sampled while it runs."""

from __future__ import annotations

import threading
from pathlib import Path


class Memory:
    """Samples a process and its descendants in a thread."""

    def __init__(self, pid: int) -> None:
        self.together_kib = 0
        self.each_kib: dict[int, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self, pid: int) -> None:
        while not self._stopped.wait(0.1):
            now = {one: proportional_kib(one) for one in family(pid)}
            self.together_kib = max(self.together_kib, sum(now.values()))
            for one, kib in now.items():
                self.each_kib[one] = max(kib, self.each_kib.get(one, 0))


def family(pid: int) -> list[int]:
    """A process and everything it started."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        direct = [int(c) for path in children for c in path.read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(p for child in direct for p in family(child))]


def proportional_kib(pid: int) -> int:
    """Memory of one process; what it shares is counted in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
