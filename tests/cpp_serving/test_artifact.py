"""A damaged file is refused with what, where and fix, and never crashes the process."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from cpp_serving._core import Scorer
from cpp_serving.scorer_file import ScorerFile
from cpp_serving.stack import open_stack
from replay.errors import ArtifactError
from tests.cpp_serving.opened import exported


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(tmp_path_factory.mktemp("artifact")).read_bytes()


def refusal(data: bytes) -> str:
    with pytest.raises(ArtifactError) as raised:
        Scorer.from_bytes(data, "scorer.bin")
    assert raised.value.what
    assert "scorer.bin" in raised.value.where
    assert raised.value.fix
    return str(raised.value)


def test_a_sound_file_opens(sound: bytes) -> None:
    assert Scorer.from_bytes(sound, "scorer.bin").training_id.isalnum()


def test_a_file_cut_anywhere_is_refused(sound: bytes) -> None:
    lengths = {*range(130), *range(0, len(sound), 97), len(sound) - 1}
    for length in sorted(lengths):
        refusal(sound[:length])
    assert "cut short" in refusal(sound[:-1])
    assert "empty" in refusal(b"")
    assert "has" in refusal(sound + b"\0")


def test_any_single_changed_byte_is_refused(sound: bytes) -> None:
    rng = random.Random(7)
    places = {*range(64 + 8 * 40), *rng.sample(range(len(sound)), 1000)}
    for place in sorted(places):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << rng.randrange(8)
        refusal(bytes(damaged))


def test_the_damaged_section_is_named(sound: bytes) -> None:
    for place in range(8):
        name, offset, length = struct.unpack_from("<16sQQ", sound, 64 + 40 * place)
        damaged = bytearray(sound)
        damaged[offset + length // 2] ^= 0x10
        assert f"section '{name.rstrip(bytes(1)).decode()}'" in refusal(bytes(damaged))


def test_a_renewed_checksum_does_not_make_nonsense_sound(sound: bytes) -> None:
    file = ScorerFile(sound)
    file.values("trees", "<u4")[0] += 1
    assert "'trees'" in refusal(file.sealed())
    file = ScorerFile(sound)
    file.node_features()[0] = 0x7FFFFFF0
    assert "not there" in refusal(file.sealed())
    file = ScorerFile(sound)
    file.values("leaf_weights", "<f4")[3] = float("nan")
    assert "not finite" in refusal(file.sealed())


def test_a_later_version_is_refused_as_such(sound: bytes) -> None:
    later = bytearray(ScorerFile(sound).sealed())
    struct.pack_into("<I", later, 8, 2)
    assert "version 2" in refusal(ScorerFile(bytes(later)).sealed())


def test_what_is_no_scorer_file_is_refused_by_path(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello, this is no model at all, and it is long enough for a header\n")
    empty = tmp_path / "empty.bin"
    empty.touch()
    for path, what in (
        (text, "no scorer's file"),
        (empty, "empty"),
        (tmp_path, "no regular file"),
        (tmp_path / "absent.bin", "can not be opened"),
        (Path("/dev/null"), "no regular file"),
    ):
        with pytest.raises(ArtifactError, match=what) as raised:
            open_stack(path)
        assert raised.value.where == str(path)


def test_a_path_that_is_not_utf8_opens(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "sch\udcf6n.bin"
    path.write_bytes(sound)
    assert open_stack(path).identity().training_id
