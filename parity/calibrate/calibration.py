"""Each checkpoint's tolerance, measured: noise of its channels, or an envelope of what arrives.

The challenger's difference from the reference is never looked at: a tolerance fitted to it would
allow the very bug. What counts is the reference under disturbance, the reference against its own
float64, and each side against itself under changes that must not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from parity.calibrate.arrival import arrivals
from parity.calibrate.precision import PRECISIONS, Precision
from parity.calibrate.step_precision import responses_by_step, step_precisions
from parity.calibrate.steps import floors, shadow
from parity.compare.alignment import Alignment, Pair, align
from parity.noise import ChannelNoise, Envelope, Sampled
from parity.plan import Plan
from parity.tolerance import PlannedTolerance, best_match
from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array

# Root mean square of a channel's differences against its noise. PyTorch against ONNX Runtime came to
# 1.5 at most on a transformer of 44 checkpoints (docs/tolerances.md), where the noise has the
# float64 shadow in it; a fault of 1e-5 in one row of weights to 30 and more.
MARGIN = 4.0
# Without a shadow the law alone: 1.25 sqrt(n) of the response had no false alarm on 54 honest runs.
# With one it shows how well this sum is added up; another side may add from left to right, which
# makes sqrt(n) / 2 of the response, and half as much again is allowed.
LAW, LAW_WITH_SHADOW = 1.25, 0.75
# A floor beyond this is no other order of a sum: dropout that was left on, or a race. It would hide
# itself and more if it were allowed.
CHANCE = 16.0
# Of an envelope against what simulated rounding made. The simulation puts a full rounding into every
# step, container modules too: a real bf16 copy of that transformer came to 0.36 of its root mean
# square. The largest of millions of candidates lies further out than that of thousands.
ROOM, ROOM_FOR_MOST = 1.0, 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Measured tolerances.

    Attributes:
        tolerances: Reference name to tolerance.
        precision: What the challenger computes in.
        requests, candidates: What was measured on.
        floors: Side and change to the checkpoint that moved most under it and by how much, in
            units of its noise; nothing where no bit moved.
        notes: What could not be measured, and why.
    """

    tolerances: Mapping[str, Sampled]
    precision: str
    requests: int
    candidates: int
    floors: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def calibrate(
    reference: Stack,
    challenger: Stack,
    batch: RequestBatch,
    alignment: Alignment,
    *,
    precision: Precision = PRECISIONS["fp32"],
    seed: int = 0,
) -> Calibration:
    """Measure a tolerance for every real step after the features.

    Args:
        reference: The side that is trusted: its steps are disturbed and recomputed.
        challenger: Run against itself only, for its floor.
        batch: A few dozen ordinary requests.
        alignment: What is compared.
        precision: Of the challenger as a whole; coarser than fp32 is judged by an envelope at the
            outputs. A step that declares a finer one is measured in that.
        seed: Draws the disturbances.

    Raises:
        StackError: A stack broke its contract.
    """
    pairs = _measured(alignment)
    own = {pair.name: pair for pair in pairs}
    every = [pair.name for pair in alignment.pairs]
    recorded = reference.score(batch, capture=every).values
    steps_in = step_precisions(pairs, alignment, precision)
    response = responses_by_step(reference, batch, recorded, steps_in, seed=seed)
    errors, note = (
        ({}, "a float64 shadow says nothing of a coarser precision")
        if precision.is_narrow
        else shadow(reference, batch, recorded, capture=list(own))
    )
    moved = {
        f"reference, {change}": found
        for change, found in floors(reference, batch, recorded, capture=list(own)).items()
    } | {
        f"challenger, {change}": found
        for change, found in _challenger_floors(challenger, batch, alignment, pairs).items()
    }
    noise = {
        name: _noise(_terms(pair, alignment), response[name], errors.get(name), steps_in[name])
        for name, pair in own.items()
    }
    worst = {change: _worst(found, noise) for change, found in moved.items()}
    noise, chance = _widened(noise, moved)
    arrived: Mapping[str, Array] = {}
    if precision.is_narrow or not all(_declares(pair) for pair in pairs):
        steps = {name: np.maximum(found, errors.get(name, 0.0)) for name, found in response.items()}
        arrived = arrivals(
            reference, batch, recorded, steps, strength=precision.strength, seed=seed + 1
        )
    notes = [*chance] if note is None else [note, *chance]
    tolerances: dict[str, Sampled] = {}
    for name, pair in own.items():
        if precision.is_narrow and name in {"logit", "pctr"}:
            tolerances[name] = _envelope(arrived[name], _why(precision, batch))
            continue
        if name not in errors and _declares(pair) and not precision.is_narrow:
            codes = _discrete_reads(pair, alignment)
            if codes:
                # A sum over weights that codes choose: no disturbance of the codes shows its noise.
                notes.append(
                    f"{name} reads {codes[0]}, which is discrete: it keeps its declared bound"
                )
                continue
        why = _why(steps_in[name], batch, has_shadow=bool(errors))
        terms = _terms(pair, alignment)
        tolerances[name] = ChannelNoise(
            margin=MARGIN,
            noise=_rounded(noise[name]),
            size=_rounded(by_channel(_finite(recorded[name]))),
            total=_largest(arrived[name]) if name in arrived else None,
            why=why + (f"; sums of {terms} terms" if terms > 1 else ""),
        )
    return Calibration(
        tolerances=tolerances,
        precision=precision.name,
        requests=batch.num_requests,
        candidates=batch.num_candidates,
        floors={change: found for change, found in worst.items() if found[1] > 0.0},
        notes=tuple(notes),
    )


def alignment_to_measure(
    reference: CheckpointGraph, challenger: CheckpointGraph, plan: Plan
) -> Alignment:
    """The pairs of a plan, also those that have no tolerance before it is measured.

    Raises:
        ConfigError: The plan does not fit the graphs.
    """
    undeclared = {
        name: PlannedTolerance(kind="exact", why="to be measured")
        for name, checkpoint in reference.items()
        if np.dtype(checkpoint.dtype).kind == "f" and best_match(name, plan.tolerances) is None
    }
    return align(reference, challenger, replace(plan, tolerances={**plan.tolerances, **undeclared}))


def by_channel(values: Array) -> Array:
    """[channel]: root mean square over everything but the last inner axis."""
    channels = values.shape[-1] if values.ndim > 1 else 1
    rows = values.reshape(-1, channels)
    return np.sqrt(np.mean(rows**2, axis=0)) if len(rows) else np.zeros(channels)


def _measured(alignment: Alignment) -> list[Pair]:
    """Real steps that are computed from others; money is pctr's, by a known product."""
    return [
        pair
        for pair in alignment.pairs
        if np.dtype(pair.reference.dtype).kind == "f"
        and np.dtype(pair.challenger.dtype).kind == "f"
        and pair.stage != "feature"
        and pair.reference.after
        and pair.name != "ecpm_micros"
    ]


def _noise(terms: int, response: Array, error: Array | None, precision: Precision) -> Array:
    """[channel]: what honest arithmetic makes of a step."""
    answered = by_channel(response)
    # Narrow types are added up in float32 by every kernel in use, so only single roundings count.
    law = 0.0 if precision.is_narrow else LAW if error is None else LAW_WITH_SHADOW
    found = answered * max(1.0, law * math.sqrt(terms) / MARGIN)
    return found if error is None else np.maximum(found, by_channel(error))


def _terms(pair: Pair, alignment: Alignment) -> int:
    """Values in one sum, the most of any in the segment."""
    graph = alignment.reference
    declared = [graph[name].rounding for name in _segment(pair, alignment)]
    return max(1 if rounding is None else rounding.terms for rounding in declared)


def _discrete_reads(pair: Pair, alignment: Alignment) -> list[str]:
    """Codes, leaves and the like that the segment is computed from."""
    graph = alignment.reference
    read = [parent for name in _segment(pair, alignment) for parent in graph[name].after]
    return [name for name in dict.fromkeys(read) if np.dtype(graph[name].dtype).kind != "f"]


def _segment(pair: Pair, alignment: Alignment) -> list[str]:
    """The reference's checkpoint, and what stands between it and those beside the challenger's."""
    found, front = [pair.name], [pair.name]
    while front:
        for name in alignment.reference[front.pop()].after:
            if name not in alignment.by_name and name not in found:
                found.append(name)
                front.append(name)
    return found


def _challenger_floors(
    challenger: Stack, batch: RequestBatch, alignment: Alignment, pairs: list[Pair]
) -> dict[str, dict[str, Array]]:
    theirs = [pair.challenger.name for pair in alignment.pairs]
    recorded = challenger.score(batch, capture=theirs).values
    capture = {pair.challenger.name: pair.name for pair in pairs}
    return {
        change: {capture[name]: array for name, array in found.items()}
        for change, found in floors(challenger, batch, recorded, capture=list(capture)).items()
    }


def _widened(
    noise: dict[str, Array], moved: Mapping[str, Mapping[str, Array]]
) -> tuple[dict[str, Array], list[str]]:
    """The noise with its floors; sums in another order make some, and chance makes too much.

    Returns:
        [channel] by name, and a note of each change under which a side does not repeat itself.
    """
    notes = []
    widened = dict(noise)
    for change, found in moved.items():
        for name, own in noise.items():
            floor = by_channel(found[name])
            if np.all(floor <= CHANCE * own):
                widened[name] = np.maximum(widened[name], floor)
            else:
                notes.append(
                    f"{name} does not repeat itself ({change}): more than rounding, not allowed for"
                )
    return widened, notes


def _worst(found: Mapping[str, Array], noise: Mapping[str, Array]) -> tuple[str, float]:
    """The checkpoint that moved most in units of its noise."""
    units = {}
    for name, own in noise.items():
        moved = by_channel(found[name])
        with np.errstate(divide="ignore", invalid="ignore"):
            units[name] = float(np.nanmax(np.where(moved > 0.0, moved / own, 0.0), initial=0.0))
    return max(units.items(), key=lambda one: one[1], default=("", 0.0))


def _declares(pair: Pair) -> bool:
    """Whether both sides say how far rounding moves a value end to end."""
    return pair.reference.rounding is not None and pair.challenger.rounding is not None


def _envelope(arrived: Array, why: str) -> Envelope:
    """From [draw, row] signed differences."""
    sizes = np.abs(arrived)
    draws = arrived.reshape(len(arrived), -1)
    return Envelope(
        rms=ROOM * float(np.sqrt(np.mean(sizes**2))),
        p99=ROOM * float(np.quantile(sizes, 0.99)),
        most=ROOM_FOR_MOST * float(sizes.max(initial=0.0)),
        shift=ROOM * float(np.abs(draws.mean(axis=1)).max(initial=0.0)),
        why=why,
    )


def _largest(arrived: Array) -> float:
    """The bound of one value: four times what arrives, at the channel and row where most does."""
    spread = np.sqrt(np.mean(arrived**2, axis=0))
    return float(f"{MARGIN * float(spread.max(initial=0.0)):.4g}")


def _finite(values: Array) -> Array:
    wide = values.astype(np.float64)
    return np.where(np.isfinite(wide), wide, 0.0)


def _rounded(values: Array) -> tuple[float, ...]:
    """Four digits: a noise is known to far fewer, and the file stays readable."""
    return tuple(float(f"{value:.4g}") for value in values.tolist())


def _why(precision: Precision, batch: RequestBatch, *, has_shadow: bool = False) -> str:
    unit = f"{precision.name} roundings" if precision.is_narrow else "roundings"
    shown = "answers to single " + unit
    if has_shadow:
        shown += ", errors against float64"
    return f"{shown} and runs against itself, on {batch.num_candidates} candidates"
