from typing import Any

import numpy as np
import pyarrow as pa

from legacy.ranking import ranks
from tests.builders import CANDIDATE, SCHEMA, a_candidate, a_request, batch_of


def test_the_highest_of_its_request_is_first_and_ties_go_by_ad_id() -> None:
    keys = batch_of(
        a_request("r-1", candidates=[a_candidate(i) for i in (9, 2**62 + 1, 2**62, 4)]),
        a_request("r-2", candidates=[a_candidate(i) for i in (5, 3)]),
    ).keys

    found = ranks(np.array([0.1, 0.5, 0.5, 0.9, 0.2, 0.2]), keys)

    assert found.dtype == np.int32
    assert found.tolist() == [3, 2, 1, 0, 1, 0]


def test_text_ids_ascend_by_their_bytes() -> None:
    candidate = pa.struct(
        [pa.field("ad_id", pa.string()), *(f for f in CANDIDATE if f.name != "ad_id")]
    )
    schema = SCHEMA.set(5, pa.field("candidates", pa.list_(candidate)))
    ids: list[Any] = ["b", "B", "é", "\U0001f45f", "\uffff", "10", "9"]
    keys = batch_of(a_request(candidates=[a_candidate(i) for i in ids]), schema=schema).keys

    found = ranks(np.zeros(7), keys)

    in_order = [ids[i] for i in np.argsort(found)]
    assert in_order == sorted(ids, key=str.encode)


def test_a_nan_comes_last() -> None:
    keys = batch_of(a_request(num_candidates=3)).keys

    assert ranks(np.array([np.nan, -np.inf, 1.0]), keys).tolist() == [2, 1, 0]
