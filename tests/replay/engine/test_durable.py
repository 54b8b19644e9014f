"""A file is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.engine.durable import TEMPORARY, remove_abandoned, write_durably


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_by_its_parts(tmp_path: Path, *, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")

    write_durably(path, [b"ne", memoryview(b"w")], durable=durable)

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise OSError("disk full")

    path = tmp_path / "file"
    path.write_bytes(b"old")

    with pytest.raises(OSError, match="disk full"):
        write_durably(path, parts())

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_old_unfinished_files_are_removed(tmp_path: Path) -> None:
    fresh, old, other = (tmp_path / name for name in (f"{TEMPORARY}a", f"{TEMPORARY}b", "kept"))
    for path in (fresh, old, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))

    remove_abandoned(tmp_path)

    assert sorted(tmp_path.iterdir()) == sorted([fresh, other])
