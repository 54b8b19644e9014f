"""Integers that stand for something: ids, buckets, places in a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.value_kinds.kind import ValueKind, by_number, is_code, is_integer, plain
from replay.trace import Array


def _rotated(values: Array) -> Array:
    """1, 2 and 3 change places: every table of a vocabulary has these."""
    return np.where((values >= 1) & (values <= 3), values % 3 + 1, values)


CODE_KINDS: Mapping[str, ValueKind] = {
    "off_by_one": plain(
        "off_by_one",
        "one less, and 0 becomes 1",
        is_integer,
        # Places in a table stay places in it.
        lambda v: np.where(v == 0, 1, v - 1),
    ),
    "relabelled": plain(
        "relabelled", "codes 1, 2 and 3 change places: another vocabulary order", is_code, _rotated
    ),
    "codes_merged": plain(
        "codes_merged",
        "an even code falls to the one below it: a coarser table",
        is_code,
        lambda v: np.where((v > 0) & (v % 2 == 0), v - 1, v),
    ),
    "reserved_id": plain(
        "reserved_id",
        "code 1 is taken for the reserved one: it becomes 0",
        is_code,
        lambda v: np.where(v == 1, 0, v),
    ),
    "modulus": by_number(
        "modulus",
        "the remainder modulo a number (7): a table of another size",
        is_code,
        7.0,
        lambda v, size: np.where(v > 0, 1 + (v - 1) % int(size), v),
    ),
}
