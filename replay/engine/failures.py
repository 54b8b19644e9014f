"""The ways in which a stack's process can fail, as errors and as findings about a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from replay.errors import StackError, ToolkitError, WorkerError

FailureKind = Literal["crashed", "hung", "raised"]
FailedSide = Literal["reference", "challenger", "both"]

# Details stand in reports: long enough for a message, short enough for a table.
MAX_DETAIL = 300
# Object addresses differ from run to run, and equal inputs must give equal reports.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


class WorkerCrashedError(WorkerError):
    """A stack's process ended without an answer."""


class WorkerHungError(WorkerError):
    """A stack's process gave no answer in time and was killed."""


class StackRaisedError(StackError):
    """A stack raised an exception of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that at least one stack could not score; each request is listed once.

    Attributes:
        request_id: The request.
        side: Whose stack failed; "both" where both did.
        kind: How it failed ("crashed" includes every unasked exit); the reference's where
            both failed.
        detail: One line that is the same in every replay of the same inputs.
    """

    request_id: str
    side: FailedSide
    kind: FailureKind
    detail: str


def kind_of(error: ToolkitError) -> FailureKind:
    """How the stack failed that made `score` raise this."""
    if isinstance(error, WorkerCrashedError):
        return "crashed"
    if isinstance(error, WorkerHungError):
        return "hung"
    return "raised"


def detail_of(error: ToolkitError) -> str:
    """The error in one line, without what changes between equal runs."""
    text = _ADDRESS.sub("0x...", " ".join(error.what.split()))
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 3] + "..."
