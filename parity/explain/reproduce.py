"""Is a cause still there? A bundle's one request, through both stacks once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from parity.compare.alignment import Alignment, Pair, align
from parity.compare.difference import compare
from parity.explain.causes import find_faults
from parity.explain.probe import Probe, probe
from parity.explain.reproduce_bundle import Bundle, read_bundle
from parity.explain.reproduce_values import row_values, same_number
from parity.render.visible import visible
from replay.engine.lane import Lane, LaneSpec
from replay.errors import ConfigError
from replay.registry import StackSpec
from replay.request import RequestBatch

Status = Literal["failing", "mended", "unknown"]
EXIT_CODES: dict[Status, int] = {"mended": 0, "failing": 1, "unknown": 3}
_TITLES: dict[Status, str] = {
    "failing": "STILL FAILING",
    "mended": "MENDED",
    "unknown": "CAN NOT TELL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a cause.

    Attributes:
        status: "failing": it is there. "mended": it is gone. "unknown": nobody can tell.
        checkpoint: Of the cause.
        reason: In a sentence.
        values: The pair of values now, and then; text.
        also: Other causes that the request shows now.
    """

    status: Status
    checkpoint: str
    reason: str
    values: tuple[str, ...] = ()
    allowed: str = ""
    also: tuple[str, ...] = ()

    @property
    def is_mended(self) -> bool:
        return self.status == "mended"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    @property
    def text(self) -> str:
        """For a person, a line each for what there is to say."""
        lines = [f"{_TITLES[self.status]}  {visible(self.checkpoint)}: {visible(self.reason)}"]
        lines += [f"  values    {visible(line)}" for line in self.values]
        if self.allowed:
            lines.append(f"  allowed   {visible(self.allowed)}")
        if self.also:
            lines.append(
                f"  also      other causes in this request: {visible(', '.join(self.also))}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenBundle:
    """A bundle with both of its stacks open."""

    bundle: Bundle
    request: RequestBatch
    lane: Lane


def check_bundle(
    path: Path, *, challenger: StackSpec | None = None, reference: StackSpec | None = None
) -> Outcome:
    """Replay a bundle's request and say whether its cause is still there.

    Both stacks are opened as they are now, each in a process of its own. The cause is there when
    the challenger's own step at its checkpoint, on the reference's inputs, still differs beyond the
    plan's tolerance.

    Args:
        path: The bundle's folder.
        challenger: To open in place of the challenger that the bundle names.
        reference: The same of the reference, such as where its artifact has moved.

    Raises:
        ConfigError: There is no bundle, it is damaged, or it is of another schema.
        ToolkitError: A stack can not be opened, or fails on the request.
    """
    with open_bundle(path, challenger=challenger, reference=reference) as opened:
        return examine(opened)


@contextmanager
def open_bundle(
    path: Path, *, challenger: StackSpec | None = None, reference: StackSpec | None = None
) -> Iterator[OpenBundle]:
    """Read a bundle and open both stacks; what is refused is refused before its request runs.

    Raises:
        ToolkitError: As `check_bundle`.
    """
    bundle, request = read_bundle(path)
    lanes = LaneSpec(
        reference=reference or bundle.reference.spec(),
        challenger=challenger or bundle.challenger.spec(),
    )
    with lanes.open() as lane:
        yield OpenBundle(bundle=bundle, request=request, lane=lane)


def examine(opened: OpenBundle) -> Outcome:
    """Replay the request and judge; never "mended" where the evidence has changed.

    Raises:
        ToolkitError: A stack failed on the request.
    """
    bundle, lane = opened.bundle, opened.lane
    changed = _changed(opened)
    if changed is not None:
        return Outcome(status="unknown", checkpoint=bundle.checkpoint, reason=changed)
    try:
        alignment = align(lane.reference.checkpoints, lane.challenger.checkpoints, bundle.to_plan())
    except ConfigError as error:
        reason = f"the bundle's plan no longer fits the stacks: {error.what}"
        return Outcome(status="unknown", checkpoint=bundle.checkpoint, reason=reason)
    if bundle.checkpoint not in alignment.by_name:
        reason = "the two stacks no longer both have this checkpoint, or no longer alike"
        return Outcome(status="unknown", checkpoint=bundle.checkpoint, reason=reason)
    seen = probe(lane.reference, lane.challenger, opened.request, alignment)
    return _judged(bundle, alignment, seen)


def _changed(opened: OpenBundle) -> str | None:
    """Why the evidence is no longer what it was; None when it is."""
    bundle = opened.bundle
    now, challenger = opened.lane.reference.identity(), opened.lane.challenger.identity()
    if now.digest != bundle.reference.digest:
        return (
            f"the reference {bundle.reference.name!r} is another artifact: "
            f"{now.digest} now, {bundle.reference.digest} when the cause was found"
        )
    ids = now.training_id, challenger.training_id
    if bundle.to_plan().same_training and None not in ids and ids[0] != ids[1]:
        return f"the challenger comes from another training: {ids[1]}, the reference from {ids[0]}"
    return None


def _judged(bundle: Bundle, alignment: Alignment, seen: Probe) -> Outcome:
    pair = alignment[bundle.checkpoint]
    ours, theirs = row_values(pair, seen, bundle.values.row, bundle.values.inner)
    then = f"reference {_shown(bundle.values.reference)}, challenger {_shown(bundle.values.challenger)}"
    now = f"reference {_shown(ours)}, challenger {_shown(theirs)}"
    whose = f"request {bundle.values.request_id}"
    if bundle.values.ad_id is not None:
        whose += f", ad {bundle.values.ad_id}"
    values = (f"{whose}: {now}",) if now == then else (f"{whose}: {now}", f"when found: {then}")
    faults = find_faults(seen)
    named = {one.name for fault in faults for one in fault.pairs}
    also = tuple(one.name for one in alignment.pairs if one.name in named - {pair.name})
    clouded = [fault.checkpoint for fault in faults if pair.name in fault.clouded]
    status: Status
    # On the challenger's own inputs the reference gives another value when these have changed.
    on_its_own = pair.name not in seen.mirrored
    if on_its_own and not _reference_stands(pair, bundle.values.reference, ours):
        status = "unknown"
        reason = "the reference no longer gives the value that it gave"
    elif clouded:
        status = "unknown"
        reason = f"a difference at {clouded[0]} comes before it and hides it"
    elif pair.name in named:
        status = "failing"
        reason = "the challenger's own step still differs on the reference's inputs"
    else:
        status, reason = "mended", "the challenger's own step has what the reference has"
    return Outcome(
        status=status,
        checkpoint=pair.name,
        reason=reason,
        values=values,
        allowed=(pair.sampled or pair.tolerance).text(),
        also=also,
    )


def _reference_stands(pair: Pair, then: float | None, now: float | None) -> bool:
    """Whether the reference gives what it gave, within what two machines may differ by."""
    if same_number(then, now):
        return True
    if then is None or now is None:
        return False
    dtype = np.dtype(pair.reference.dtype)
    found = compare(np.array([then], dtype), np.array([now], dtype), pair)
    return not bool(found.differs.any())


def _shown(value: float | None) -> str:
    return "missing" if value is None else repr(value)
