"""Why two checkpoints are probably one, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from parity.compare.match_forms import Form
from parity.compare.match_structure import Place

SHOWN = 3


ONLY = "the only one of its form at this place in either graph"


def structure_words(ours: Place, theirs: Place, matched: Mapping[str, str]) -> str:
    """Which matched checkpoints are next to both places, by the reference's names."""
    names = {partner: name for name, partner in matched.items()}
    parts = []
    for says, first, second in (
        ("computed from", ours.above, theirs.above),
        ("used by", ours.below, theirs.below),
    ):
        other = {names[name] for name in second}
        both = [name for name in matched if name in first and name in other]
        if both:
            missing = len(first | other) - len(both)
            parts.append(
                f"{says} {_listed(both)}" + (f" (of {len(both) + missing})" if missing else "")
            )
    return ", ".join(parts) or "of the same form"


def name_words(likeness: float) -> str:
    """How alike the names are."""
    return f"names {likeness:.0%} alike"


def value_words(form: Form, place: tuple[int, int], open_pairs: NDArray[np.bool_]) -> str:
    """What the recorded values say of a pair, and of its nearest rival."""
    values = form.values
    if values is None:
        return "no values were recorded"
    if not values.known[place]:
        return "values say nothing: too few different ones"
    error = float(values.error[place])
    if values.equal[place]:
        said = f"values equal (root mean square of the difference {error:.1e} of their spread)"
    else:
        said = f"values differ ({error:.1e} of their spread, correlation {float(values.correlation[place]):.3f})"
    rivals = open_pairs & values.known
    rivals[place] = False
    mine = [
        (i, j)
        for i, j in zip(*np.nonzero(rivals), strict=True)
        if (i == place[0]) != (j == place[1])
    ]
    if not mine:
        return said
    nearest = min(mine, key=lambda at: float(values.error[at]))
    i, j = int(nearest[0]), int(nearest[1])
    rival = form.columns[j] if i == place[0] else form.rows[i]
    return f"{said}; the next one, {rival}, differs by {float(values.error[i, j]):.1e}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
