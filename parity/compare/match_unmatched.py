"""What has no partner, and why: a no-op, a fused step, another form, or nothing like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parity.compare.alignment import mismatch
from parity.compare.match_search import Found
from parity.compare.match_structure import Place, places_of
from parity.compare.match_values import transposition
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.trace import Trace

SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A checkpoint without a partner.

    Attributes:
        side: Whose it is.
        name: Its name there.
        reason: Why, in words.
        explained: The other side has nothing that it could stand beside, or it is left out.
        by_plan: The plan leaves it out.
    """

    side: Literal["reference", "challenger"]
    name: str
    reason: str
    explained: bool
    by_plan: bool = False


def reasons(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
    found: Found,
    excused: tuple[Mapping[str, str], Mapping[str, str]],
    witness: tuple[Trace, Trace] | None,
) -> tuple[Unmatched, ...]:
    """Every checkpoint of either side that has no partner, with its reason."""
    others = {theirs: name for name, theirs in found.partners.items()}
    partners: tuple[Mapping[str, str], Mapping[str, str]] = (found.partners, others)
    places = tuple(places_of(side, of) for side, of in zip(found.sides, partners, strict=True))
    unmatched = tuple(
        {name: place for name, place in of.items() if name not in side}
        for of, side in zip(places, partners, strict=True)
    )
    listed: list[Unmatched] = []
    for k, (graph, side) in enumerate(zip(graphs, found.sides, strict=True)):
        whose: Literal["reference", "challenger"] = "challenger" if k else "reference"
        fine = set()  # explained so far: a no-op comes after what it passes on
        for name in graph:
            if name in partners[k]:
                continue
            if name in excused[k]:
                reason, explained = excused[k][name], True
            elif name in side.passes_on:
                head = side.passes_on[name]
                reason = f"passes on the values of {head!r} unchanged"
                explained = head in partners[k] or head in fine
            else:
                near = _near(places[k][name], unmatched[1 - k], found.partners, flipped=bool(k))
                near = [other for other in near if other not in excused[1 - k]]
                reason, explained = _reason(
                    graphs, name, near, places[k][name], witness, of_challenger=bool(k)
                )
            fine.update([name] if explained else [])
            listed.append(
                Unmatched(
                    side=whose,
                    name=name,
                    reason=reason,
                    explained=explained,
                    by_plan=name in excused[k],
                )
            )
    return tuple(listed)


def _near(
    place: Place, others: Mapping[str, Place], partners: Mapping[str, str], *, flipped: bool
) -> list[str]:
    """The other side's open checkpoints that stand between the same matched ones."""
    ours = {theirs: name for name, theirs in partners.items()} if flipped else dict(partners)
    above = {ours[name] for name in place.above}
    below = {ours[name] for name in place.below}
    return [
        name
        for name, other in others.items()
        if bool(above & other.above) == bool(above or other.above)
        and bool(below & other.below) == bool(below or other.below)
    ]


def _reason(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
    name: str,
    near: list[str],
    place: Place,
    witness: tuple[Trace, Trace] | None,
    *,
    of_challenger: bool,
) -> tuple[str, bool]:
    where = _between(place)
    if not near:
        other = "the reference" if of_challenger else "the challenger"
        if place.above or place.below:
            return f"{other} has no checkpoint {where}: fused there, or inserted here", True
        return "nothing above or below it is matched", False
    told = [
        said
        for other in near
        if (said := _transposed(graphs, (other, name) if of_challenger else (name, other), witness))
    ]
    if told:
        return told[0], False
    unlike = []
    for other in near[:SHOWN]:
        pair = (other, name) if of_challenger else (name, other)
        why = mismatch(graphs[0][pair[0]], graphs[1][pair[1]])
        unlike.append(f"{other!r} has {why}" if why else f"{other!r} is not like enough")
    return f"{where}: {'; '.join(unlike)}", False


def _transposed(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
    pair: tuple[str, str],
    witness: tuple[Trace, Trace] | None,
) -> str | None:
    """What to do when one is the other with its inner axes in another order."""
    ours, theirs = graphs[0][pair[0]], graphs[1][pair[1]]
    if sorted(ours.shape) != sorted(theirs.shape) or len(ours.shape) < 2:
        return None
    kinds = {np.dtype(one.dtype).kind for one in (ours, theirs)}
    if (ours.stage, ours.rows) != (theirs.stage, theirs.rows) or len(kinds) > 1:
        return None
    if (ours.shape, ours.axes) == (theirs.shape, theirs.axes):
        return None
    seen = _seen_transposed(ours, theirs, witness)
    if witness is not None and seen is None:
        return None
    order = "in another order" if seen is None else f"by axes {seen}"
    return (
        f"reference {ours.name!r} is {list(ours.shape)} along {ours.axes[1:]}, challenger "
        f"{theirs.name!r} {list(theirs.shape)} along {theirs.axes[1:]}: transposed {order}"
        f"{'' if seen is None else ', the values are equal'}. To compare them, record the "
        f"challenger's with the reference's axes and rename it {{{theirs.name}: {ours.name}}}"
    )


def _seen_transposed(
    ours: Checkpoint, theirs: Checkpoint, witness: tuple[Trace, Trace] | None
) -> tuple[int, ...] | None:
    if witness is None:
        return None
    return transposition(
        witness[0][ours.name],
        witness[1][theirs.name],
    )


def _between(place: Place) -> str:
    parts = [
        f"{says} {', '.join(sorted(names)[:SHOWN])}{' and others' if len(names) > SHOWN else ''}"
        for says, names in (("after", place.above), ("before", place.below))
        if names
    ]
    return " and ".join(parts) or "anywhere"
