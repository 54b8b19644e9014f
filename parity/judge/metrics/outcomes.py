"""What happened to labelled candidates, and what both sides had said about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """The evidence for metrics, gathered over a replay, in any order.

    Attributes:
        request_hash: [labelled candidate] uint64, the hash of its request.
        label: [labelled candidate] int8, 1 when clicked, else 0.
        p_reference: [labelled candidate], probability of a click.
        p_challenger: The same of the challenger.
        top_k_overlap: [request], share of the reference's first k candidates that are among
            the challenger's first k.
        rank_correlation: [request], correlation of both sides' ranks; NaN where a request
            has a single candidate.
        top_k: The k of the overlap.
    """

    request_hash: NDArray[np.uint64]
    label: NDArray[np.int8]
    p_reference: NDArray[np.float64]
    p_challenger: NDArray[np.float64]
    top_k_overlap: NDArray[np.float64]
    rank_correlation: NDArray[np.float64]
    top_k: int

    @property
    def num_labelled(self) -> int:
        return len(self.label)

    @property
    def clicks(self) -> int:
        return int(np.count_nonzero(self.label == 1))

    def sorted(self) -> Outcomes:
        """The same evidence in an order that depends on nothing but its values."""
        rows = np.lexsort((self.p_challenger, self.p_reference, self.label, self.request_hash))
        requests = np.lexsort((self.rank_correlation, self.top_k_overlap))
        return Outcomes(
            request_hash=self.request_hash[rows],
            label=self.label[rows],
            p_reference=self.p_reference[rows].astype(np.float64),
            p_challenger=self.p_challenger[rows].astype(np.float64),
            top_k_overlap=self.top_k_overlap[requests].astype(np.float64),
            rank_correlation=self.rank_correlation[requests].astype(np.float64),
            top_k=self.top_k,
        )
