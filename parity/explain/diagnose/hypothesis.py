"""One explanation that may be true, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from parity.tolerance import Floats, Mask
from replay.trace import Array

Parameters = Mapping[str, float | int | str]
Reach = Literal["all", "some", "either"]
Curve = Callable[[Array], Array]
NONE: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hypothesis:
    """A statement about how the challenger's values follow from the reference's.

    Attributes:
        kind: Its class.
        says: What the challenger does, as a clause: "challenger = reference x 60".
        meaning: What a person would call it: "seconds instead of minutes".
        parameters: What was fitted.
        bits: What they cost to write down.
        needs: Different values of the reference that it has to meet: usually two more than it has
            free parameters, since through two points a line can always be drawn.
        curve: The prediction as a function of the reference alone; rounding of the reference
            is carried through it. None where `values` says it cell by cell.
        steps: Whether the curve jumps: then nothing between two of its values is expected.
        values: [cell], the prediction.
        slack: [cell], how far a right prediction may lie off, beyond rounding.
        cost: [cell], bits that a cell still costs although it is as predicted.
        reach: Whether it has to hold on all cells, or only speaks of the differing ones (which
            ones is then written down too), or either.
        purity: Share of the differing cells that it has to explain, where that is more than usual.
        certain: Whether it needs no saving over the challenger's own distribution, since it is
            backed by other values.
    """

    kind: str
    says: str
    meaning: str = ""
    parameters: Parameters = field(default_factory=lambda: NONE)
    bits: float = 0.0
    needs: int = 0
    curve: Curve | None = None
    steps: bool = False
    values: Array | None = None
    slack: Floats | float = 0.0
    cost: Floats | None = None
    reach: Reach = "either"
    purity: float = 0.0
    certain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A hypothesis as the held-back half sees it.

    Attributes:
        bits: Saved on the held-back cells, all costs paid.
        support: Share of the differing held-back cells that it explains.
        rows: Share of the held-back cells that it leaves as predicted, agreeing ones included.
        everywhere: Whether it was read as holding on every cell, not on the differing ones only.
        moves: Share of the held-back cells that it changes.
        explained: [cell] of the whole sample.
        predicted: [cell] of the whole sample.
    """

    hypothesis: Hypothesis
    bits: float
    support: float
    rows: float
    everywhere: bool
    moves: float
    explained: Mask
    predicted: Array
