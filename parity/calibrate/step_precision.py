"""What each step computes in: what the challenger as a whole does, or finer where it declares that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.calibrate.precision import PRECISIONS, Precision
from parity.calibrate.steps import responses
from parity.compare.alignment import Alignment, Pair
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array


def step_precisions(
    pairs: Sequence[Pair], alignment: Alignment, precision: Precision
) -> dict[str, Precision]:
    """Reference name to what the challenger's step computes in.

    A norm under bf16 autocast reads values that carry bf16's noise, and adds none of that size: given
    the same input, both sides' norms differ by float32's rounding. So a declaration counts where all
    that the step reads is compared and can be given; else a coarser step may stand between.
    """
    return {pair.name: _of_step(pair, alignment, precision) for pair in pairs}


def responses_by_step(
    stack: Stack,
    batch: RequestBatch,
    recorded: Mapping[str, Array],
    precisions: Mapping[str, Precision],
    *,
    seed: int,
) -> dict[str, Array]:
    """[row, ...] float64: how each step answers one rounding of what it computes in."""
    found: dict[str, Array] = {}
    for precision in dict.fromkeys(precisions.values()):
        capture = [name for name, own in precisions.items() if own == precision]
        found |= responses(stack, batch, recorded, capture=capture, precision=precision, seed=seed)
    return found


def _of_step(pair: Pair, alignment: Alignment, precision: Precision) -> Precision:
    rounding = pair.challenger.rounding
    if rounding is None or rounding.computed_in is None:
        return precision
    read = pair.challenger.after
    if not all(n in alignment.by_challenger and alignment.challenger[n].settable for n in read):
        return precision
    return min(precision, PRECISIONS[rounding.computed_in], key=lambda one: one.unit)
