from __future__ import annotations

from pathlib import Path

import pytest

from parity.config import load_config
from parity.plan_write import put_into_plan, yaml_lines
from replay.errors import ConfigError

TEXT = """\
# What we replay.
stacks:
  ours: {open: "tests.toys:open_stack"}   # the one we trust
  theirs: {open: "tests.toys:open_stack", options: {inner: "block.0"}}
  third: {open: "tests.toys:open_stack"}

plans:
  # The translation.
  - reference: ours
    challenger: theirs
    outputs: bounded  # every checkpoint
    # renames: {a: b}   an example
    top_k: 5
  # The rest.
  - reference: "*"
    challenger: [third, ours]
    left_out:
      debug.*: "printed, never used"   # a long reason
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "parity.yaml"
    found.write_text(TEXT)
    return found


def test_only_the_renames_are_added_and_every_comment_stays(path: Path) -> None:
    put_into_plan(path, 0, "renames", {"block.0": "inner.mix"}, pair=("ours", "theirs"))

    added = [line for line in path.read_text().splitlines() if line not in TEXT.splitlines()]
    kept = [line for line in path.read_text().splitlines() if line in TEXT.splitlines()]
    assert added == ["    renames:", "      block.0: inner.mix"]
    assert kept == TEXT.splitlines()
    assert load_config(path).plan("ours", "theirs").renames == {"block.0": "inner.mix"}


def test_renames_join_those_that_stand_there(path: Path) -> None:
    put_into_plan(path, 0, "renames", {"a": "b"}, pair=("ours", "theirs"))
    put_into_plan(path, 0, "renames", {"on": "12", "c: d": "e"}, pair=("ours", "theirs"))

    renames = load_config(path).plan("ours", "theirs").renames
    assert renames == {"a": "b", "on": "12", "c: d": "e"}


def test_a_plan_of_several_pairs_stays_and_the_pair_gets_its_own(path: Path) -> None:
    put_into_plan(path, 1, "renames", {"x": "y"}, pair=("theirs", "third"))

    config = load_config(path)
    assert config.plan("theirs", "third").renames == {"x": "y"}
    assert config.plan("theirs", "third").left_out == {"debug.*": "printed, never used"}
    assert config.plan("ours", "third").renames == {}
    assert [line for line in TEXT.splitlines() if line not in path.read_text().splitlines()] == []


def test_renames_that_others_share_are_not_changed(path: Path) -> None:
    path.write_text(TEXT.replace("    top_k: 5\n", "    renames: &names {a: b}\n"))
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="shared with others as &names"):
        put_into_plan(path, 0, "renames", {"x": "y"}, pair=("ours", "theirs"))

    assert path.read_bytes() == before


def test_a_plan_that_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(ConfigError, match="no plan number 8"):
        put_into_plan(path, 7, "renames", {"x": "y"}, pair=("ours", "theirs"))


def test_line_ends_and_permissions_stay(path: Path) -> None:
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    path.chmod(0o640)

    put_into_plan(path, 0, "renames", {"x": "y"}, pair=("ours", "theirs"))

    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["parity.yaml"]


def test_a_nan_like_name_is_quoted_in_the_printed_lines() -> None:
    assert yaml_lines("renames", {"12": "a", "b": "c"}) == "renames:\n  '12': a\n  b: c\n"
