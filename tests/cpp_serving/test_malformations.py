"""Each malformation in each of the four readers: refused with what is wrong, where, and what to do."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable

import numpy as np
import pytest

from cpp_serving._core import Scorer, TreeScorer
from replay.errors import ArtifactError
from tests.cpp_serving.malformations import MALFORMATIONS, READERS, Edit
from tests.cpp_serving.malformed import (
    artifact_with,
    json_with,
    sound_artifact,
    sound_json,
    sound_text,
    text_with,
    ubjson,
    ubjson_with,
)

PAIRS = [
    (name, reader)
    for name, one in MALFORMATIONS.items()
    for reader in READERS
    if not isinstance(one.edit(reader), str)
]


def malformed(name: str, reader: str) -> bytes:
    edit = MALFORMATIONS[name].edit(reader)
    assert not isinstance(edit, str)
    write: Callable[[Edit], bytes] = {
        "json": json_with, "ubjson": ubjson_with, "lightgbm": text_with, "artifact": artifact_with,
    }[reader]  # fmt: skip
    return write(edit)


def refused(data: bytes, reader: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        (Scorer if reader == "artifact" else TreeScorer).from_bytes(data, "stranger.model")
    return caught.value


@pytest.mark.parametrize(("name", "reader"), PAIRS)
def test_it_is_refused_with_what_where_and_fix(name: str, reader: str) -> None:
    what, where = MALFORMATIONS[name].said["xgboost" if "json" in reader else reader]

    error = refused(malformed(name, reader), reader)

    assert re.search(what, error.what), error.what
    assert error.where.startswith("stranger.model")
    assert re.search(where, error.where), error.where
    assert re.search(MALFORMATIONS[name].fix, error.fix), error.fix


def test_a_huge_count_takes_no_memory() -> None:
    """A count is believed only as far as the file is long."""
    pairs = [pair for pair in PAIRS if "huge" in pair[0]]
    files = [(malformed(*pair), pair[1]) for pair in pairs]
    assert len(files) > 15
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for data, reader in files:
        refused(data, reader)

    # Kibibytes on Linux. A thousandth of what the counts say would be more.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def sound(reader: str) -> bytes:
    return {
        "json": sound_json, "ubjson": lambda: ubjson(json.loads(sound_json())),
        "lightgbm": lambda: sound_text().encode(), "artifact": sound_artifact,
    }[reader]()  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_bytes_that_are_cut_or_added_are_refused(reader: str) -> None:
    data = sound(reader)
    end = data.index(b"end of trees") if reader == "lightgbm" else len(data) - 1
    # In the middle of a list, LightGBM's parts and UBJSON's counts are what no longer fits.
    half = "cut short|can not hold|leaf values|of other sizes"
    cases = [(data[: end // 2], half), (data[:end], "cut short|can not hold")]
    cases += [(b"", "is empty")]
    if reader != "lightgbm":  # Whose lines after the trees are the training's: they are not read.
        cases += [(data + b"{}", "goes on after its end|and says it has")]

    for changed, said in cases:
        error = refused(changed, reader)
        assert re.search(said, error.what), error.what
        assert error.where.startswith("stranger.model")
        assert len(error.fix) > 20


def test_ubjson_as_it_is_written_here_is_what_xgboost_means() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)

    leaves = [
        TreeScorer.from_bytes(data, "sound").leaves(rows)
        for data in (sound("json"), sound("ubjson"))
    ]

    np.testing.assert_array_equal(*leaves)
