"""Evidence made ready: bounded, flat, split into a half to fit on and a half held back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from parity.explain.diagnose.evidence import Evidence
from parity.tolerance import Floats, Mask
from replay.trace import Array

Places = NDArray[np.int64]

# What an infinite value costs at least.
INFINITE_BITS = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One checkpoint's cells: rows times channels, flat and row by row.

    Attributes:
        evidence: Where the cells come from.
        rows: [row], places of the kept rows in the evidence.
        channels: Places of the kept channels among the checkpoint's inner values.
        reference: [cell], int64 or float64; NaN is missing.
        challenger: [cell].
        allowed: [cell], the tolerance.
        differs: [cell].
        held: [cell], whether the cell is held back from fitting.
    """

    evidence: Evidence
    rows: Places
    channels: Places
    reference: Array
    challenger: Array
    allowed: Floats
    differs: Mask
    held: Mask

    @property
    def num_channels(self) -> int:
        return len(self.channels)

    @property
    def is_integer(self) -> bool:
        return bool(self.reference.dtype.kind == "i")

    @cached_property
    def r(self) -> Floats:
        """[cell], the reference in float64."""
        return self.reference.astype(np.float64)

    @cached_property
    def c(self) -> Floats:
        """[cell], the challenger in float64."""
        return self.challenger.astype(np.float64)

    @cached_property
    def requests(self) -> Places:
        """[row]: index of its request."""
        return self.evidence.requests[self.rows]

    @cached_property
    def starts(self) -> Places:
        """[request + 1]: where the kept rows of each request begin, and the end."""
        edges = np.flatnonzero(np.diff(self.requests)) + 1
        return np.concatenate([[0], edges, [len(self.rows)]]).astype(np.int64)

    @cached_property
    def request_of_row(self) -> Places:
        """[row]: its request's place among the kept ones."""
        sizes = np.diff(self.starts)
        return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)

    @cached_property
    def learning(self) -> Places:
        """Differing cells to fit on, at most a few thousand."""
        return np.flatnonzero(self.differs & ~self.held)

    @cached_property
    def finite(self) -> Places:
        """Of those, cells that are finite on both sides."""
        places = self.learning
        return places[np.isfinite(self.r[places]) & np.isfinite(self.c[places])]

    @cached_property
    def marginal(self) -> Floats:
        """[cell]: bits of the challenger's value in the challenger's own column.

        An infinity is no value that a column is expected to have, however many there are.
        """
        _, inverse, counts = np.unique(self.challenger, return_inverse=True, return_counts=True)
        bits = np.log2(len(inverse) / counts[inverse])
        return np.where(np.isinf(self.c), np.maximum(bits, INFINITE_BITS), bits)

    @cached_property
    def surprise(self) -> Floats:
        """[cell]: the same for a value that is known not to be the reference's.

        In a column of two values such a value says nothing more.
        """
        values, counts = np.unique(self.challenger, return_counts=True)
        at = np.minimum(np.searchsorted(values, self.reference), len(values) - 1)
        same = (values[at] == self.reference) | (np.isnan(values[at]) & np.isnan(self.r))
        taken = np.where(same, counts[at], 0) / len(self.reference)
        return np.maximum(self.marginal + np.log2(np.maximum(1.0 - taken, 1e-300)), 0.0)

    @cached_property
    def is_whole(self) -> bool:
        """Whether every finite value of both sides is an integer."""
        if self.is_integer:
            return True
        both = np.concatenate([self.r, self.c])
        both = both[np.isfinite(both)]
        return bool(len(both)) and bool((both == np.floor(both)).all())

    def grid(self, values: Array) -> Array:
        """[row, channel] of a [cell] array."""
        return values.reshape(len(self.rows), self.num_channels)

    def from_rows(self, values: Array) -> Array:
        """[cell] of a [row] array."""
        return np.repeat(values, self.num_channels)

    def beside(self, values: Array) -> Array:
        """[row, *inner] of an array along the evidence's rows."""
        return values[self.rows]

    def along(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Those columns that have one value for each row, along the kept rows."""
        return {name: values[self.rows] for name, values in columns.items() if values.ndim == 1}

    def moved(self, source: Places) -> Array:
        """[cell]: the reference where each row takes the values of another row."""
        return self.grid(self.reference)[source].reshape(-1)

    def meets_each_value(self, predicted: Array) -> bool:
        """Whether a prediction is right for nearly every value that the challenger has.

        It has to have two at least, three times each, on the held-back half: a column in which one
        value stands nearly everywhere is met by anything that says that value.
        """
        actual, expected = self.challenger[self.held], predicted[self.held]
        values, place, counts = np.unique(actual, return_inverse=True, return_counts=True)
        same = (actual == expected) | (np.isnan(self.c[self.held]) & (expected != expected))  # noqa: PLR0124  # NaN, also of integers
        right = np.bincount(place, weights=same.astype(np.float64), minlength=len(values))
        often = counts >= 3
        return int(often.sum()) >= 2 and bool((right[often] >= 0.8 * counts[often]).all())

    def without(self, explained: Mask) -> Sample | None:
        """The sample without some cells, kept only as rows of one channel."""
        kept = ~explained
        if not (self.differs & kept & self.held).any() or self.num_channels > 1:
            return None
        return replace(
            self,
            rows=self.rows[kept],
            reference=self.reference[kept],
            challenger=self.challenger[kept],
            allowed=self.allowed[kept],
            differs=self.differs[kept],
            held=self.held[kept],
        )

    def narrowed(self, channels: Places) -> Sample:
        """The sample of some of its channels."""

        def of(values: Array) -> Array:
            return np.ascontiguousarray(self.grid(values)[:, channels]).reshape(-1)

        return replace(
            self,
            channels=self.channels[channels],
            reference=of(self.reference),
            challenger=of(self.challenger),
            allowed=of(self.allowed),
            differs=of(self.differs),
            held=of(self.held),
        )
