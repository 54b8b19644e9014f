from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import LogError
from replay.logs.rules import RULES
from replay.logs.schema import Rejection, validate
from tests.replay.logs.examples import (
    DAY,
    MOMENT,
    Record,
    a_candidate,
    a_record,
    records,
    schema_of,
    table_of,
)

WHERE = "part-00000.parquet#3"
NOT_UTF8 = b"caf\xe9"


def rejections(
    rows: list[Record], *, day: date = DAY, ad_id: pa.DataType | None = None
) -> tuple[Rejection, ...]:
    return validate(table_of(rows, ad_id=ad_id), day=day, where=WHERE).rejections


def test_valid_rows_come_through_as_they_are() -> None:
    table = table_of(records(5))

    shard = validate(table, day=DAY, where=WHERE)

    assert shard.read == 5
    assert shard.rejections == ()
    assert shard.batch.records.to_pylist() == table.to_pylist()


def test_an_empty_table_is_read_as_no_requests() -> None:
    shard = validate(table_of([]), day=DAY, where=WHERE)

    assert (shard.read, shard.batch.num_requests, shard.rejections) == (0, 0, ())


def at(year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("missing_field", {"request_id": None}, "request_id is null"),
    ("missing_field", {"logged_at": None}, "logged_at is null"),
    ("missing_field", {"context": None}, "context is null"),
    ("missing_field", {"user": None}, "user is null"),
    ("missing_field", {"history": None}, "history is null"),
    ("missing_field", {"history": [a_record()["history"][0], None]}, "history[1] is null"),
    ("missing_field", {"candidates": None}, "candidates is null"),
    ("missing_field", {"candidates": [a_candidate(), None]}, "candidate[1] is null"),
    ("missing_field", {"candidates": [a_candidate(None)]}, "candidate[0].ad_id is null"),
    *(
        (
            "missing_field",
            {"candidates": [a_candidate(1), a_candidate(7, **{name: None})]},
            f"candidate[1].{name} is null (ad_id 7)",
        )
        for name in ("bid_micros", "served_rank", "served_pctr", "served_features")
    ),
    ("no_candidates", {"candidates": []}, "candidates is empty"),
    (
        "duplicate_ad_id",
        {"candidates": [a_candidate(2**53), a_candidate(2), a_candidate(2**53)]},
        "candidate[2].ad_id repeats 9007199254740992",
    ),
    ("duplicate_request_id", {"request_id": b"r0"}, "request_id repeats 'r0'"),
    ("wrong_date", {"logged_at": at(2026, 3, 2)}, "logged_at is 2026-03-02T00:00:00.000000Z"),
    ("wrong_date", {"logged_at": at(2026, 2, 28, 23)}, "logged_at is 2026-02-28T23:00:00.000000Z"),
    ("wrong_date", {"logged_at": at(1969, 3, 1)}, "logged_at is 1969-03-01T00:00:00.000000Z"),
    ("invalid_text", {"request_id": NOT_UTF8}, r"request_id is b'caf\xe9', not UTF-8"),
    (
        "invalid_text",
        {"context": {"device": NOT_UTF8}},
        r"context.device is b'caf\xe9', not UTF-8",
    ),
    (
        "invalid_text",
        {"user": {"tags": [None, b"ok", NOT_UTF8]}},
        r"user.tags is b'caf\xe9', not UTF-8",
    ),
    (
        "invalid_text",
        {"history": [{"ad_id": 1, "action": NOT_UTF8}]},
        r"history.action is b'caf\xe9', not UTF-8",
    ),
    (
        "invalid_text",
        {"candidates": [a_candidate(1), a_candidate(2, title=NOT_UTF8)]},
        r"candidate.title is b'caf\xe9', not UTF-8",
    ),
    (
        "invalid_text",
        {"candidates": [a_candidate(1, served_features={"word": NOT_UTF8})]},
        r"candidate.served_features.word is b'caf\xe9', not UTF-8",
    ),
    (
        "invalid_label",
        {"candidates": [a_candidate(1), a_candidate(2, click=-1)]},
        "candidate[1].click is -1",
    ),
]


@pytest.mark.parametrize(("reason", "fields", "detail"), BROKEN)
def test_a_broken_row_is_rejected_and_its_neighbours_are_not(
    reason: str, fields: dict[str, Any], detail: str
) -> None:
    rows = records(4)
    rows[2] = a_record(2, **fields)

    shard = validate(table_of(rows), day=DAY, where=WHERE)

    (rejection,) = shard.rejections
    assert (rejection.reason, rejection.detail) == (reason, detail)
    assert rejection.where == "part-00000.parquet#3 row 2"
    assert shard.read == 4
    assert shard.batch.keys.request_ids.to_pylist() == ["r0", "r1", "r3"]


def test_a_rejection_names_its_request_even_when_the_name_is_the_problem() -> None:
    found = rejections(
        [a_record(request_id=NOT_UTF8), a_record(request_id=None), a_record(8, candidates=[])]
    )

    assert [r.request_id for r in found] == [r"caf\xe9", None, "r8"]


def test_two_halves_of_a_letter_in_two_values_are_not_text() -> None:
    """Put together, as they lie in memory, their bytes are one valid letter."""
    first, second = b"\xc3", b"\xa9"
    rows = [a_record(0, context={"device": first}), a_record(1, context={"device": second})]

    assert [r.reason for r in rejections(rows)] == ["invalid_text", "invalid_text"]


def test_text_ids_are_compared_as_text() -> None:
    one = a_record(0, candidates=[a_candidate(b"a"), a_candidate(b"A")])
    two = a_record(1, candidates=[a_candidate(b"a"), a_candidate(b"b"), a_candidate(b"a")])

    (rejection,) = rejections([one, two], ad_id=pa.string())

    assert rejection.detail == "candidate[2].ad_id repeats 'a'"


def test_the_same_ad_may_stand_in_two_requests() -> None:
    rows = [a_record(i, candidates=[a_candidate(3)]) for i in range(3)]

    assert rejections(rows) == ()


def test_the_day_ends_with_its_last_microsecond() -> None:
    last = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)

    assert rejections([a_record(0, logged_at=last)]) == ()


def test_times_that_no_calendar_has_are_worded_all_the_same() -> None:
    rows = table_of(records(2)).set_column(
        1, "logged_at", pa.array([2**63 - 1, -(2**63) + 1]).cast(MOMENT)
    )

    found = validate(rows, day=DAY, where=WHERE).rejections

    assert [r.reason for r in found] == ["wrong_date", "wrong_date"]


def test_long_values_are_cut_in_details() -> None:
    (rejection,) = rejections([a_record(0, context={"device": b"\xff" * 10_000})])

    assert len(rejection.detail) < 200


def test_other_arrow_types_of_the_same_kinds_are_read() -> None:
    kinds = schema_of(ad_id=pa.uint32(), text=pa.large_string())
    table = table_of(records(3))
    other = table.cast(kinds).set_column(
        0, "request_id", table.column("request_id").combine_chunks().dictionary_encode()
    )

    shard = validate(other, day=DAY, where=WHERE)

    assert shard.batch.records.to_pylist() == table.to_pylist()


def without(path: str) -> Callable[[pa.Schema], pa.Schema]:
    return retyped(path, None)


def retyped(path: str, kind: pa.DataType | None) -> Callable[[pa.Schema], pa.Schema]:
    def changed(schema: pa.Schema) -> pa.Schema:
        top, _, name = path.partition(".")
        place = schema.get_field_index(top)
        if name:
            inner = schema.field(place).type.value_type
            fields = [f if f.name != name else f.with_type(kind or f.type) for f in inner]
            kept = [f for f in fields if kind is not None or f.name != name]
            return schema.set(place, pa.field(top, pa.list_(pa.struct(kept))))
        return schema.remove(place) if kind is None else schema.set(place, pa.field(top, kind))

    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(
            (without(path), f"no field '{path}'")
            for path in (
                "request_id",
                "logged_at",
                "context",
                "user",
                "history",
                "history.ad_id",
                "history.action",
                "history.at",
                "candidates",
                "candidates.ad_id",
            )
        ),
        (retyped("request_id", pa.int64()), "'request_id' is int64, not string"),
        (retyped("logged_at", pa.timestamp("us")), r"'logged_at' is timestamp\[us\], not"),
        (retyped("context", pa.string()), "'context' is string, not struct"),
        (retyped("history", pa.list_(pa.int64())), "'history' is list<item: int64>, not list"),
        (retyped("candidates", pa.struct([])), "'candidates' is struct<>, not list of struct"),
        (retyped("candidates.ad_id", pa.float64()), "'candidates.ad_id' is double, not int64 or"),
        (retyped("candidates.bid_micros", pa.float64()), "'candidates.bid_micros' is double"),
        (retyped("candidates.click", pa.bool_()), "'candidates.click' is bool, not int64"),
        (retyped("user", pa.struct({"at": pa.duration("s")})), "duration"),
    ],
)
def test_a_file_of_another_structure_is_an_error(
    change: Callable[[pa.Schema], pa.Schema], says: str
) -> None:
    with pytest.raises(LogError, match=says) as caught:
        validate(change(schema_of()).empty_table(), day=DAY, where=WHERE)

    assert caught.value.where == WHERE


def test_a_field_that_stands_twice_is_an_error() -> None:
    schema = schema_of()
    twice = pa.struct([pa.field("x", pa.int64()), pa.field("x", pa.int64())])

    with pytest.raises(LogError, match=r"two fields called 'user\.x'"):
        validate(schema.set(3, pa.field("user", twice)).empty_table(), day=DAY, where=WHERE)


def test_a_log_may_lack_what_its_rows_may_not() -> None:
    schema = schema_of()
    for name in ("bid_micros", "served_rank", "served_pctr", "served_features", "click"):
        schema = without(f"candidates.{name}")(schema)
    rows = [a_record(candidates=[{"ad_id": 1, "title": b"t"}]) | {"context": {}, "user": {}}]
    table = pa.Table.from_pylist([rows[0] | {"request_id": "r", "history": []}], schema=schema)

    assert validate(table, day=DAY, where=WHERE).rejections == ()


REASONS = [reason for reason, _ in RULES]


def reason_by_reading(row: Record, seen: set[bytes]) -> str | None:
    """The rules row by row, as one would read them in docs/formats.md."""
    required = ("request_id", "logged_at", "context", "user", "history", "candidates")
    of_candidate = ("ad_id", "bid_micros", "served_rank", "served_pctr", "served_features")
    candidates = row["candidates"] or []
    if (
        any(row[name] is None for name in required)
        or None in row["history"]
        or None in candidates
        or any(c[name] is None for c in candidates for name in of_candidate)
    ):
        return "missing_field"
    if not candidates:
        return "no_candidates"
    if len({c["ad_id"] for c in candidates}) < len(candidates):
        return "duplicate_ad_id"
    if row["request_id"] in seen:
        return "duplicate_request_id"
    if row["logged_at"].date() != DAY:
        return "wrong_date"
    if not all(is_utf8(text) for text in texts_in(row)):
        return "invalid_text"
    if any(c["click"] not in (None, 0, 1) for c in candidates):
        return "invalid_label"
    return None


def texts_in(value: object) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in texts_in(part)]


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


TEXT = st.one_of(st.sampled_from([b"a", "ß".encode(), b"\xc3", b""]), st.binary(max_size=3))
CANDIDATE = st.builds(
    a_candidate,
    st.sampled_from([1, 2, 3, 2**40, None]),
    bid_micros=st.sampled_from([1, 1, 1, 1, None]),
    title=st.none() | TEXT,
    click=st.sampled_from([None, 0, 1, 1, 2]),
    served_features=st.sampled_from([{"word": b"w"}, {}, {"word": b"\xff"}, None]),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "request_id": st.none() | TEXT,
    "logged_at": st.none() | st.datetimes(timezones=st.just(UTC)),
    "context": st.none() | st.fixed_dictionaries({"device": st.none() | TEXT}),
    "user": st.none() | st.fixed_dictionaries({"tags": st.lists(st.none() | TEXT, max_size=3)}),
    "history": st.none()
    | st.lists(
        st.none() | st.fixed_dictionaries({"ad_id": st.none(), "action": st.none() | TEXT}),
        max_size=3,
    ),
    "candidates": st.none() | st.lists(st.none() | CANDIDATE, max_size=4),
}
# At most two fields of a row are drawn anew: a row that breaks everything tests one rule only.
CHANGES = st.lists(
    st.lists(st.sampled_from(list(FIELDS)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(CHANGES)
def test_every_row_is_scored_or_rejected_by_the_first_rule_it_breaks(
    changes: list[dict[str, Any]],
) -> None:
    rows = [a_record(i, **fields) for i, fields in enumerate(changes)]
    seen: set[bytes] = set()
    expected: list[str | None] = []
    for row in rows:
        expected.append(reason_by_reading(row, seen))
        seen |= {row["request_id"]}

    shard = validate(table_of(rows), day=DAY, where=WHERE)

    assert shard.read == len(rows)
    assert shard.read == shard.batch.num_requests + len(shard.rejections)
    found = {int(r.where.rsplit(" ", 1)[1]): r.reason for r in shard.rejections}
    assert [found.get(i) for i in range(len(rows))] == expected
    kept = [
        row["request_id"].decode() for row, reason in zip(rows, expected, strict=True) if not reason
    ]
    assert shard.batch.keys.request_ids.to_pylist() == kept


def test_the_reasons_are_those_of_the_format_in_its_order() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    table = text.split("Reasons:", 1)[1].split("##", 1)[0]
    documented = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]

    assert documented == REASONS


def test_a_shard_of_bad_rows_only_lists_every_one() -> None:
    rows = [a_record(i, candidates=[]) for i in range(3000)]

    shard = validate(table_of(rows), day=DAY, where=WHERE)

    assert shard.batch.num_requests == 0
    assert Counter(r.reason for r in shard.rejections) == {"no_candidates": 3000}
