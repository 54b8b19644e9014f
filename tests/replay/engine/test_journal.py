"""A journal remembers what was finished, and nothing that is damaged or of another replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.engine.journal import Journal
from replay.errors import ConfigError, ToolkitError
from tests.replay.engine.toy_work import ToyShard

SHARD = ToyShard(id="date=2019-11-30/part-00000.parquet#3", seed=0)


def record_of(run_dir: Path) -> Path:
    (path,) = (run_dir / "journal").glob("*.shard")
    return path


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 1000])
def test_a_recorded_shard_is_finished_in_the_next_run_too(tmp_path: Path, payload: bytes) -> None:
    Journal(tmp_path / "run", fingerprint="f").record(SHARD, payload)

    journal = Journal(tmp_path / "run", fingerprint="f")

    assert journal.finished(SHARD) == payload
    assert journal.finished(ToyShard(id="other", seed=0)) is None


def test_a_record_cut_short_or_changed_counts_as_absent(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(SHARD, b"payload")
    whole = record_of(tmp_path).read_bytes()

    for size in range(len(whole)):
        record_of(tmp_path).write_bytes(whole[:size])
        assert journal.finished(SHARD) is None
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        record_of(tmp_path).write_bytes(changed)
        assert journal.finished(SHARD) is None

    record_of(tmp_path).write_bytes(whole)
    assert journal.finished(SHARD) == b"payload"


def test_a_record_counts_only_for_its_own_shard(tmp_path: Path) -> None:
    journal, other = Journal(tmp_path), ToyShard(id="other", seed=0)
    journal.record(SHARD, b"payload")
    mine = record_of(tmp_path)
    journal.record(other, b"of the other")
    (theirs,) = set((tmp_path / "journal").glob("*.shard")) - {mine}

    theirs.write_bytes(mine.read_bytes())

    assert journal.finished(other) is None


def test_resuming_another_replay_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path, fingerprint="sha256:aa").record(SHARD, b"payload")

    with pytest.raises(ConfigError, match="of another replay") as raised:
        Journal(tmp_path, fingerprint="sha256:bb")

    assert "sha256:aa" in raised.value.what


def test_a_journal_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path)
    (tmp_path / "journal" / "journal.json").write_bytes(b"\xff")

    with pytest.raises(ConfigError, match="unreadable"):
        Journal(tmp_path)


def test_records_without_their_header_still_belong_to_their_fingerprint(tmp_path: Path) -> None:
    Journal(tmp_path, fingerprint="sha256:aa").record(SHARD, b"payload")
    (tmp_path / "journal" / "journal.json").unlink()

    assert Journal(tmp_path, fingerprint="sha256:bb").finished(SHARD) is None


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")

    with pytest.raises(ConfigError, match="can not be written"):
        Journal(tmp_path / "run")


def test_a_result_that_can_not_be_kept_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.folder.rename(tmp_path / "moved")

    with pytest.raises(ToolkitError, match="can not be kept"):
        journal.record(SHARD, b"payload")
