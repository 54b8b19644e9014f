"""What a stack may also be able to do, asked for across processes, or of the stack itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from replay.capabilities import DescribesWeights, Differentiates, Recomputes, Varies
from replay.engine import wire
from replay.engine.pieces import bytes_per_request, rows_of, runs_within
from replay.engine.wire import Message
from replay.errors import StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import EMPTY, Array, Trace, frozen

if TYPE_CHECKING:  # it asks this module in turn
    from replay.engine.process import StackProcess

_PROTOCOLS: Mapping[str, type] = {
    "recomputes": Recomputes,
    "differentiates": Differentiates,
    "varies": Varies,
    "describes_weights": DescribesWeights,
}
# Gradients are of the logit's candidates; they travel beside what is given, under this name.
_WEIGHTS = "weights of the logit"
_UNASKED = "the owner asks for what the stack said it has"


def capabilities_of(stack: Stack) -> dict[str, Any]:
    """In the worker: which of these a stack has, and which variations, as plain JSON values."""
    able = [name for name, protocol in _PROTOCOLS.items() if isinstance(stack, protocol)]
    varied = list(stack.variations()) if isinstance(stack, Varies) else []
    return {"able": able, "variations": varied}


def recomputing(stack: Stack) -> Recomputes | None:
    """The stack as one that recomputes in float64, wherever it lives; None when it can not."""
    return stack if isinstance(stack, Recomputes) else _remote(stack, "recomputes")


def differentiating(stack: Stack) -> Differentiates | None:
    """The stack as one that gives gradients; None when it can not."""
    return stack if isinstance(stack, Differentiates) else _remote(stack, "differentiates")


def varying(stack: Stack) -> Varies | None:
    """The stack as one that runs under harmless changes; None when it can not."""
    return stack if isinstance(stack, Varies) else _remote(stack, "varies")


def describing(stack: Stack) -> DescribesWeights | None:
    """The stack as one that shows weights and configuration; None when it can not."""
    return stack if isinstance(stack, DescribesWeights) else _remote(stack, "describes_weights")


def answer(stack: Stack, message: Message) -> Message:
    """In the worker: what the owner's `_Remote` asked.

    Raises:
        StackError: The stack could not, or gave other rows than the batch's.
    """
    header = message.header
    if header["do"] == "weights":
        assert isinstance(stack, DescribesWeights), _UNASKED
        arrays = {name: np.asarray(one) for name, one in stack.weights().items()}
        descriptor, layout = wire.memory_from_arrays(arrays)
        values = {"values": layout, "configuration": dict(stack.configuration())}
        return Message(header=values, descriptors=(descriptor,))
    batch = wire.batch_from_memory(message.descriptors[0])
    given: dict[str, Array] = {}
    if header["given"]:
        given = wire.arrays_from_memory(message.descriptors[1], header["given"])
    capture = header["capture"]
    found: Mapping[str, Array]
    if header["do"] == "recompute":
        assert isinstance(stack, Recomputes), _UNASKED
        found = stack.recompute(batch, capture, given)
    elif header["do"] == "gradients":
        assert isinstance(stack, Differentiates), _UNASKED
        found = stack.gradients(batch, capture, given[_WEIGHTS])
    else:
        assert isinstance(stack, Varies), _UNASKED
        found = stack.vary(header["variation"], batch, capture, given).values
    for name, array in found.items():
        checkpoint = stack.checkpoints[name]
        wanted = (batch.keys.num_rows(checkpoint.rows), *checkpoint.shape)
        if array.shape != wanted or array.dtype.hasobject:
            raise StackError(
                f"{name!r} is {array.dtype}{list(array.shape)}, declared {list(wanted)}.",
                where=f"stack {stack.name!r}, {header['do']}",
                fix="give each checkpoint its declared shape",
            )
    descriptor, layout = wire.memory_from_arrays({name: np.asarray(a) for name, a in found.items()})
    return Message(header={"values": layout}, descriptors=(descriptor,))


def _remote(stack: Stack, capability: str) -> Any:
    process = getattr(stack, "inner", stack)  # a cached stack's own
    able = getattr(process, "capabilities", {}).get("able", ())
    return _Remote(cast("StackProcess", process)) if capability in able else None


@dataclass(frozen=True, eq=False)
class _Remote:
    """The capabilities of a stack in another process; it has those that it said it has."""

    process: StackProcess

    def recompute(
        self, batch: RequestBatch, capture: Collection[str], given: Mapping[str, Array]
    ) -> Mapping[str, NDArray[np.float64]]:
        """As `Recomputes.recompute`."""
        return self._in_pieces({"do": "recompute"}, batch, capture, given)

    def gradients(
        self, batch: RequestBatch, capture: Collection[str], weights: Array
    ) -> Mapping[str, Array]:
        """As `Differentiates.gradients`."""
        return self._in_pieces({"do": "gradients"}, batch, capture, {_WEIGHTS: weights})

    def variations(self) -> tuple[str, ...]:
        """As `Varies.variations`."""
        return tuple(self.process.capabilities["variations"])

    def vary(
        self,
        variation: str,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """As `Varies.vary`."""
        asked = {"do": "vary", "variation": variation}
        values = self._in_pieces(asked, batch, capture, given)
        kept = {name: frozen(array) for name, array in values.items()}
        return Trace(stack=self.process.name, keys=batch.keys, values=kept)

    def weights(self) -> Mapping[str, Array]:
        """As `DescribesWeights.weights`."""
        return self._described[0]

    def configuration(self) -> Mapping[str, str]:
        """As `DescribesWeights.configuration`."""
        return self._described[1]

    @property
    def _described(self) -> tuple[Mapping[str, Array], Mapping[str, str]]:
        header, values = self.process.ask_for_arrays({"do": "weights"}, doing="showing its weights")
        return values, header["configuration"]

    def _in_pieces(
        self,
        asked: Mapping[str, Any],
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array],
    ) -> dict[str, Array]:
        """As many requests at a time as `score` takes, float64 counted as such."""
        process, names = self.process, list(dict.fromkeys(capture))
        sizes = 2 * bytes_per_request(batch.keys, process.checkpoints, names)
        parts: list[Mapping[str, Array]] = []
        for run in runs_within(sizes, process.capture_bytes):
            own = {
                name: array[rows_of(batch.keys, process.rows_of_given(name), run)]
                for name, array in given.items()
            }
            _, found = process.ask_for_arrays(
                {**asked, "capture": names},
                batch=batch.slice(run.start, run.stop),
                given=own,
                doing=f"{asked['do']} of {len(run)} requests",
            )
            parts.append(found)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
