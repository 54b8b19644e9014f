"""Native thread counts, fixed before numpy loads: they change speed and last bits."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

# One thread a process: two OpenMP pools on shared cores ran small forwards 17x slower, and
# a BLAS with two threads adds in another order than one with one.
VARIABLES: tuple[str, ...] = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
# oneDNN kernels change TensorFlow's last bits, and its start-up notes are noise in a report.
QUIET: Mapping[str, str] = MappingProxyType(
    {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
)
# Else TensorFlow gives all sessions of a process the threads that the first one asked for.
OWN_POOLS: Mapping[str, str] = MappingProxyType({"TF_OVERRIDE_GLOBAL_THREADPOOL": "1"})


def thread_environment(threads: int = 1) -> dict[str, str]:
    """The environment variables that give a process `threads` native threads."""
    return {name: str(threads) for name in VARIABLES} | dict(QUIET) | dict(OWN_POOLS)


def fix_threads(threads: int = 1, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the thread variables for this process; what the user has set stays.

    Raises:
        RuntimeError: numpy is loaded already, so the setting would come too late.
    """
    missing = {k: v for k, v in thread_environment(threads).items() if k not in environ}
    if missing and "numpy" in sys.modules:
        raise RuntimeError(
            f"numpy was imported before its thread count was fixed: {sorted(missing)}"
        )
    environ.update(missing)


def recorded_threads(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The thread variables as this process sees them, for the record of a run."""
    return {name: environ.get(name, "unset") for name in VARIABLES}
