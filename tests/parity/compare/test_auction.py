from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.compare.auction import auction

TOP = 2


@st.composite
def auctions(draw):
    """A few requests whose reference ranks by bid x p, and a challenger with an order of its own."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    offsets = np.cumsum([0, *sizes])
    total = int(offsets[-1])

    def column(of):
        return np.array(draw(st.lists(of, min_size=total, max_size=total)), dtype=np.float64)

    bids, p = column(st.integers(0, 9)), column(st.integers(1, 9)) / 10
    label = column(st.sampled_from([0.0, 1.0, np.nan]))
    request = np.repeat(np.arange(len(sizes)), sizes)

    def rank(score):
        order = np.lexsort((np.arange(total), -score, request))
        ranks = np.empty(total, dtype=np.int32)
        ranks[order] = np.arange(total) - offsets[request[order]]
        return ranks

    return bids, p, label, (rank(bids * p), rank(column(st.integers(0, 9)))), offsets


@settings(max_examples=100, deadline=None)
@given(auctions())
def test_each_request_is_valued_as_the_definition_says(case) -> None:
    bids, p, label, ranks, offsets = case

    found = auction(bids=bids, p=p, label=label, ranks=ranks, offsets=offsets, top_k=TOP)

    for request, (start, stop) in enumerate(pairwise(offsets)):
        rows = range(start, stop)
        chosen = [[row for row in rows if side[row] < TOP] for side in ranks]
        for side, values in zip(
            chosen, (found.value_reference, found.value_challenger), strict=True
        ):
            assert values[request] == pytest.approx(np.mean([1000 * bids[r] * p[r] for r in side]))
        held = sum(bids[row] for row in chosen[0])
        lost = sum(bids[row] for row in chosen[0] if row not in chosen[1])
        assert found.bid_flips[request] == pytest.approx(
            lost / held if held else np.nan, nan_ok=True
        )
        known = [row for row in rows if np.isfinite(label[row])]
        for side, values in zip(
            ranks, (found.label_value_reference, found.label_value_challenger), strict=True
        ):
            among = sorted(known, key=lambda row, side=side: side[row])[:TOP]
            value = np.mean([1000 * bids[r] * label[r] for r in among]) if among else np.nan
            expected = value if len(known) > TOP else np.nan
            assert values[request] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(auctions())
def test_by_its_own_judgement_no_choice_beats_the_references(case) -> None:
    bids, p, label, ranks, offsets = case

    found = auction(bids=bids, p=p, label=label, ranks=ranks, offsets=offsets, top_k=TOP)

    assert (found.value_challenger <= found.value_reference + 1e-9).all()


def test_equal_choices_flip_nothing_and_keep_everything() -> None:
    offsets, bids = np.array([0, 3]), np.array([5.0, 4.0, 3.0])
    ranks = np.array([0, 1, 2])

    found = auction(
        bids=bids,
        p=np.full(3, 0.5),
        label=np.array([1.0, 0.0, 0.0]),
        ranks=(ranks, ranks),
        offsets=offsets,
        top_k=TOP,
    )

    assert found.bid_flips.tolist() == [0.0]
    assert found.value_reference.tolist() == found.value_challenger.tolist() == [2250.0]
    assert found.label_value_challenger.tolist() == [2500.0]
