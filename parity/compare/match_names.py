"""How alike two names are, by the words of their module paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from parity.tolerance import Floats

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(name: str) -> tuple[str, ...]:
    """`/blocks.0/attn_outProj` has the words blocks, 0, attn, out, proj."""
    return tuple(word.lower() for word in _WORD.findall(name))


def name_likeness(ours: str, theirs: str) -> float:
    """In [0, 1]: words in common, in their order; the last ones say what it is."""
    first, second = words_of(ours), words_of(theirs)
    if not first or not second:
        return 0.0
    in_order = SequenceMatcher(None, first, second, autojunk=False).ratio()
    spelled = SequenceMatcher(None, ".".join(first), ".".join(second), autojunk=False).ratio()
    last = float(first[-1] == second[-1])
    return 0.5 * in_order + 0.3 * spelled + 0.2 * last


def name_matrix(ours: Sequence[str], theirs: Sequence[str]) -> Floats:
    """[row, column] of `name_likeness`."""
    return np.array([[name_likeness(a, b) for b in theirs] for a in ours]).reshape(
        len(ours), len(theirs)
    )
