from __future__ import annotations

import numpy as np
import pyarrow as pa

from parity.compare.request_hash import is_sampled, request_hashes


def test_the_hash_is_of_the_id_and_nothing_else() -> None:
    ids = pa.array(["r-1", "é", "r-1"])

    hashes = request_hashes(ids)

    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[0] == request_hashes(pa.array(["r-1"]))[0]
    # BLAKE2b with 8 bytes of "r-1", written down so that samples never move.
    assert hex(int(hashes[0])) == "0x7d99a80e76bbad0e"


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    hashes = request_hashes(pa.array([f"r-{n}" for n in range(4000)]))

    tenth, half = is_sampled(hashes, 0.1), is_sampled(hashes, 0.5)

    assert not np.any(tenth & ~half)
    assert 300 < tenth.sum() < 500  # 400 expected, five standard deviations are 95
    assert is_sampled(hashes, 1.0).all()
    assert not is_sampled(hashes, 0.0).any()


def test_no_requests_have_no_hashes() -> None:
    assert len(request_hashes(pa.array([], pa.string()))) == 0
