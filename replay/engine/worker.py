"""A stack in a process of its own: `python -m replay.engine.worker CHANNEL LIFELINE`.

Started by `replay.engine.child`, with its thread variables in the environment before numpy
loads. Answers one message after another until its owner closes the channel, and ends with
its owner however that ends.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from replay.capabilities import ExposesTrees, Plants
from replay.engine import capability_calls, travel, tree_calls, wire
from replay.engine.wire import Message
from replay.errors import StackError
from replay.registry import Wrapper, open_stack, spec_from_json, wrapped
from replay.request import RequestBatch
from replay.stack import Stack
from replay.threads import recorded_threads
from replay.trace import Trace, check_array


def main(arguments: list[str]) -> None:
    """Open the stack that the first message names, then answer until the channel closes."""
    channel, lifeline = socket.socket(fileno=int(arguments[0])), int(arguments[1])
    # What the stack may start must not hold them: the owner waits for them to close.
    channel.set_inheritable(False)
    os.set_inheritable(lifeline, False)  # the standard library's signature
    end_with_owner(lifeline)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(wire.ChannelClosedError):
        _serve(channel)
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks tear themselves down slowly, and some crash at it.
    os._exit(0)


def end_with_owner(lifeline: int) -> None:
    """Have the kernel end this process when the other end of `lifeline` closes.

    The default action of SIGIO ends a process even while it is stuck in native code, where
    a watching thread would not run. PR_SET_PDEATHSIG is no choice: it fires when the
    *thread* that started the process ends.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)  # the owner was gone before the signal was asked for


def usage_so_far() -> dict[str, float]:
    """CPU seconds and peak resident bytes of this process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    peak = spent.ru_maxrss if sys.platform == "darwin" else spent.ru_maxrss * 1024
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss starts at what the owner held when it started this process; VmHWM does not.
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        peak = int(found[1]) * 1024 if found else peak
    return {"cpu_s": spent.ru_utime + spent.ru_stime, "peak_rss_bytes": peak}


def _serve(channel: socket.socket) -> None:
    opened: Stack | None = None
    stack: Stack | None = None
    while True:
        message = wire.receive(channel)
        reply: Message
        try:
            if message.header["do"] == "open":
                stack = opened = open_stack(spec_from_json(message.header["spec"]))
                reply = Message(header=_introduction(stack))
            elif message.header["do"] == "wrap":
                assert opened is not None, "a stack is opened first"
                stack = _wrapped(opened, message)
                reply = Message(header={})
            else:
                assert stack is not None, "a stack is opened first"
                reply = _ANSWERS[message.header["do"]](stack, message)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # every failure of a stack is an answer
            reply = Message(header={"error": travel.json_from_error(error)})
        finally:
            wire.close_all(message.descriptors)
        wire.send(
            channel,
            Message(
                header={**reply.header, "usage": usage_so_far()}, descriptors=reply.descriptors
            ),
        )


def _wrapped(opened: Stack, message: Message) -> Stack:
    """The stack as it was opened, with other wrappers around it."""
    stack = wrapped(opened, [Wrapper(**one) for one in message.header["wrappers"]])
    if tuple(stack.checkpoints) != tuple(opened.checkpoints):
        raise StackError(
            "a wrapper changes which checkpoints there are.",
            where=f"stack {opened.name!r}",
            fix="put such a wrapper into the stack's spec, and open it again",
        )
    return stack


def _introduction(stack: Stack) -> dict[str, Any]:
    identity = travel.json_from_identity(stack.identity())
    identity["threads"] = {**identity["threads"], **recorded_threads()}
    return {
        "checkpoints": travel.json_from_graph(stack.checkpoints),
        "identity": identity,
        "faults": travel.json_from_faults(stack.faults() if isinstance(stack, Plants) else ()),
        "exposes_trees": isinstance(stack, ExposesTrees),
        "capabilities": capability_calls.capabilities_of(stack),
    }


def _score(stack: Stack, message: Message) -> Message:
    header = message.header
    batch = wire.batch_from_memory(message.descriptors[0])
    given: Mapping[str, Any] = {}
    if header["given"]:
        given = wire.arrays_from_memory(message.descriptors[1], header["given"])
    trace = stack.score(batch, capture=header["capture"], given=given)
    _check(trace, stack, batch, header["capture"])
    descriptor, layout = wire.memory_from_arrays({n: trace[n] for n in header["capture"]})
    return Message(header={"values": layout}, descriptors=(descriptor,))


def _check(trace: Trace, stack: Stack, batch: RequestBatch, capture: list[str]) -> None:
    where = f"stack {stack.name!r}, recorded"
    if not trace.keys.same_rows(batch.keys):
        raise StackError(
            "the trace's rows are not the batch's, in the batch's order.",
            where=where,
            fix="give the trace the batch's own keys, and its rows in their order",
        )
    for name in capture:
        if name not in trace.values:
            raise StackError(
                f"checkpoint {name!r} was asked for and not recorded.",
                where=where,
                fix="record it in score(), or do not declare it",
            )
        check_array(trace[name], stack.checkpoints[name], batch.keys, where=where)
        if trace[name].dtype.hasobject:
            raise StackError(
                f"checkpoint {name!r} holds Python objects.",
                where=where,
                fix="declare and record a plain numeric dtype",
            )


_ANSWERS: Mapping[str, Callable[[Stack, Message], Message]] = {
    "score": _score,
    "trees": lambda stack, _: tree_calls.show(stack),
    "leaves": tree_calls.leaves,
    "recompute": capability_calls.answer,
    "gradients": capability_calls.answer,
    "vary": capability_calls.answer,
    "weights": capability_calls.answer,
}


if __name__ == "__main__":
    main(sys.argv[1:])
