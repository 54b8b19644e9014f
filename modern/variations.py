"""How the calibration may vary a stack of this package, and what float64 is asked of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from replay.checkpoint import Checkpoint
from replay.errors import StackError

TWO_THREADS = "2 threads"


@contextmanager
def on_threads(variation: str, *, stack: str) -> Iterator[None]:
    """Within, torch runs on the number of threads that the variation says.

    Raises:
        StackError: It says another thing.
    """
    if variation != TWO_THREADS:
        raise StackError(
            f"nothing is called {variation!r} (known: {TWO_THREADS}).",
            where=f"stack {stack!r}, vary",
            fix="ask for one of variations()",
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def refuse_discrete(
    checkpoints: Mapping[str, Checkpoint], capture: Collection[str], *, stack: str
) -> None:
    """Float64 is asked of real values only.

    Raises:
        StackError: Naming the first that is discrete.
    """
    for name in capture:
        if np.dtype(checkpoints[name].dtype).kind != "f":
            raise StackError(
                f"{name!r} is discrete: float64 has nothing to add.",
                where=f"stack {stack!r}, recompute",
                fix="ask for real checkpoints",
            )
