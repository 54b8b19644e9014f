from __future__ import annotations

from parity.cli.plants import lines
from parity.planting import AvailableKind


def test_each_kind_says_what_it_does_and_where_it_can_go() -> None:
    kinds = [
        AvailableKind(kind="scale", where="value", says="Times 1.5.", checkpoints=("a", "b")),
        AvailableKind(
            kind="hash_seed", where="code", says="Another seed.", checkpoints=tuple("abcdefg")
        ),
    ]

    assert [line.split() for line in lines(kinds)] == [
        ["scale", "value", "Times", "1.5."],
        ["at", "a,", "b"],
        ["hash_seed", "code", "Another", "seed."],
        ["at", "a,", "b,", "c,", "d", "and", "3", "more"],
    ]
