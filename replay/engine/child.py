"""One worker process, the channel to it, and its output: started, asked, killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from replay.engine import wire
from replay.engine.failures import WorkerCrashedError, WorkerHungError
from replay.engine.wire import Message
from replay.threads import thread_environment

# What frameworks say at their end is short; what they say on the way is not shown.
TAIL_BYTES = 2000
# A stack that prints per request must not fill the disk: beyond this its output starts anew.
MAX_OUTPUT_BYTES = 1 << 24
# A worker that was asked to end has nothing left to do.
GRACE_S = 1.0
# One that closed its channel is ending by itself; the kernel may still write its core.
ENDING_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a stack's processes have used so far, killed ones included.

    Attributes:
        cpu_s: CPU seconds, user and system, of all of them.
        peak_rss_bytes: Largest resident size of any of them.
    """

    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            cpu_s=self.cpu_s + other.cpu_s,
            peak_rss_bytes=max(self.peak_rss_bytes, other.peak_rss_bytes),
        )


class Child:
    """A worker process and the one open question to it."""

    def __init__(self, *, stack: str, threads: int) -> None:
        self.stack = stack
        self.usage = Usage()
        self._channel, theirs = socket.socketpair()
        lifeline, their_lifeline = socket.socketpair()
        # It has no name, so it vanishes with the processes that hold it.
        self._output: IO[bytes] = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115  # closed by _end
        try:
            with theirs, their_lifeline:
                self._process = subprocess.Popen(
                    _command(theirs.fileno(), their_lifeline.fileno()),
                    env=_environment(threads),
                    pass_fds=(theirs.fileno(), their_lifeline.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._output,
                    start_new_session=True,  # Ctrl-C is its owner's to handle
                )
        except OSError:
            for opened in (self._channel, lifeline, self._output):
                opened.close()
            raise
        self._finalizer = weakref.finalize(
            self, _end, self._process, self._channel, lifeline, self._output
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    def ask(self, message: Message, *, doing: str, timeout_s: float) -> Message:
        """Send a message and wait for the answer.

        Whatever goes wrong, the process is killed: an answer that comes late would be taken
        for the next question's.

        Args:
            message: Its descriptors are closed.
            doing: For errors: "scoring 512 requests".
            timeout_s: For the answer to come.

        Raises:
            WorkerCrashedError: The process ended.
            WorkerHungError: No answer came in time.
        """
        if not self._finalizer.alive:
            wire.close_all(message.descriptors)
            raise self._crashed(doing)
        try:
            self._bound_output()
            self._channel.settimeout(timeout_s)
        except (OSError, ValueError):  # closed by another thread just now
            wire.close_all(message.descriptors)
            raise self._crashed(doing) from None
        try:
            wire.send(self._channel, message)
            answer = wire.receive(self._channel)
        except wire.ChannelClosedError:
            self._reap(ENDING_S)
            raise self._crashed(doing) from None
        except TimeoutError:
            error = self._hung(doing, timeout_s)
            self.kill()
            raise error from None
        except BaseException:
            self.kill()
            raise
        self.usage = Usage(
            cpu_s=answer.header["usage"]["cpu_s"],
            peak_rss_bytes=int(answer.header["usage"]["peak_rss_bytes"]),
        )
        return answer

    def close(self) -> None:
        """Let the process end, and kill it when it does not."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._reap(GRACE_S)
        self.kill()

    def kill(self) -> None:
        """End the process and everything it started, now."""
        self._finalizer()

    def _reap(self, timeout_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def _crashed(self, doing: str) -> WorkerCrashedError:
        tail = self._tail()
        self.kill()
        return WorkerCrashedError(
            f"stack {self.stack!r} {_ending(self._process.returncode)} while {doing}.",
            where=f"the output of its process:\n{tail}",
            fix="mend the stack; the request can be replayed alone in a debugger",
        )

    def _hung(self, doing: str, timeout_s: float) -> WorkerHungError:
        return WorkerHungError(
            f"stack {self.stack!r} gave no answer within {timeout_s:g} s while {doing}.",
            where=f"the output of its process:\n{self._tail()}",
            fix="mend the stack, or allow it more time",
        )

    def _tail(self) -> str:
        try:
            size = os.fstat(self._output.fileno()).st_size
            start = max(0, size - TAIL_BYTES)
            text = os.pread(self._output.fileno(), TAIL_BYTES, start).decode(errors="replace")
        except (OSError, ValueError):  # closed together with the process
            return "    (no longer there)"
        lines = text.rstrip().splitlines()
        return "\n".join(f"    {line}" for line in lines) or "    (none)"

    def _bound_output(self) -> None:
        if os.fstat(self._output.fileno()).st_size > MAX_OUTPUT_BYTES:
            os.ftruncate(self._output.fileno(), 0)


def _command(channel: int, lifeline: int) -> list[str]:
    # -P: a file in the current folder named like a module must not stand before that module.
    python = [sys.executable, "-P", "-u"]
    return [*python, "-m", "replay.engine.worker", str(channel), str(lifeline)]


def _environment(threads: int) -> dict[str, str]:
    # The worker imports what its owner can import; the current folder comes last.
    known = [os.path.abspath(entry) for entry in sys.path if os.path.exists(entry or ".")]  # noqa: PTH100, PTH110  # '' means the current folder here
    path = dict.fromkeys([*known, str(os.getcwd())])  # noqa: PTH109  # beside the line above
    return {
        **os.environ,
        **thread_environment(threads),
        "PYTHONPATH": os.pathsep.join(path),
    }


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "closed its channel"
    if returncode < 0:
        try:
            return f"was killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"was killed by signal {-returncode}"
    return f"exited with status {returncode}"


def _end(
    process: subprocess.Popen[bytes],
    channel: socket.socket,
    lifeline: socket.socket,
    output: IO[bytes],
) -> None:
    channel.close()
    lifeline.close()
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    output.close()
