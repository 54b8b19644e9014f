"""Plants in what a stack reads: its own code runs, on a log that its decoder has misread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.checkpoint import CheckpointGraph
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import Stack, StackIdentity
from replay.trace import EMPTY, Array, Trace

PREFIX = "log."
HOURS = 9
_MICROSECONDS_PER_HOUR = 3_600_000_000
# Who a row is and what was observed of it: no stack computes features from these.
_NOT_READ = frozenset(
    {"request_id", "candidate.ad_id", "candidate.served_rank", "candidate.served_pctr",
     "candidate.served_features", "candidate.click"}
)  # fmt: skip
_TOPS = ("logged_at", "context", "user", "history", "candidate")

Read = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """A way to misread a field.

    Attributes:
        says: One sentence.
        fits: Whether a field of this type can be misread so.
        read: From the logged values to the misread ones, of the same type.
    """

    says: str
    fits: Callable[[pa.DataType], bool]
    read: Read


@dataclass(frozen=True, slots=True, kw_only=True)
class Misreading:
    """A kind at a field, such as `user.age_days`."""

    kind: str
    field: str


class MisreadStack:
    """A stack around a stack that is handed a log in which some fields are misread."""

    def __init__(self, stack: Stack, misreadings: Sequence[Misreading]) -> None:
        self._stack = stack
        self._misreadings = tuple(misreadings)

    @property
    def name(self) -> str:
        return self._stack.name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self._stack.checkpoints

    def identity(self) -> StackIdentity:
        return self._stack.identity()

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Score what was misread; rows keep the labels of what was logged."""
        trace = self._stack.score(misread(batch, self._misreadings), capture=capture, given=given)
        return replace(trace, keys=batch.keys)


def misread(batch: RequestBatch, misreadings: Sequence[Misreading]) -> RequestBatch:
    """The batch with fields misread, one after another.

    Raises:
        LogError: The log has no such field.
        ConfigError: A kind does not fit the field's type.
    """
    for one in misreadings:
        values = batch.column(one.field)
        kind = LOG_KINDS[one.kind]
        if not kind.fits(values.type):
            raise ConfigError(
                f"{one.kind!r} can not misread a field of type {values.type}.",
                where=f"--plant {one.kind}:{PREFIX}{one.field}",
                fix="choose another field or kind",
            )
        batch = RequestBatch(_with_column(batch.records, one.field, kind.read(values)))
    return batch


def readable_fields(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Fields that a stack may compute features from, with their types, in the log's order."""
    for top in _TOPS:
        column = "candidates" if top == "candidate" else top
        if column not in schema.names:
            continue
        kind = schema.field(column).type
        struct = kind.value_type if pa.types.is_list(kind) else kind
        if not pa.types.is_struct(struct):
            yield top, struct
            continue
        for field in struct:
            if f"{top}.{field.name}" not in _NOT_READ:
                yield f"{top}.{field.name}", field.type


def _with_column(records: pa.RecordBatch, path: str, values: pa.Array) -> pa.RecordBatch:
    """The records with one field's values in place of what stands there."""
    top, _, field = path.partition(".")
    column = "candidates" if top == "candidate" else top
    place = records.schema.get_field_index(column)
    old = records.column(place)
    if not field:
        return records.set_column(place, records.schema.field(place), values)
    struct = old.values if pa.types.is_list(old.type) else old
    children = [values if one.name == field else struct.field(one.name) for one in struct.type]
    mask = struct.is_null() if struct.null_count else None
    renewed = pa.StructArray.from_arrays(children, fields=list(struct.type), mask=mask)
    if pa.types.is_list(old.type):
        renewed = pa.ListArray.from_arrays(old.offsets, renewed, type=old.type)
    return records.set_column(place, records.schema.field(place), renewed)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(change: Callable[[Array], Array]) -> Read:
    """A change of the values that are there; nulls stay nulls, and the type stays."""

    def read(values: pa.Array) -> pa.Array:
        kind = values.type
        plain = values.cast(pa.int64()) if pa.types.is_timestamp(kind) else values
        absent = values.is_null().to_numpy(zero_copy_only=False)
        filled = pc.fill_null(plain, pa.scalar(0, plain.type)).to_numpy(zero_copy_only=False)
        with np.errstate(all="ignore"):  # what is misread may overflow
            changed = np.asarray(change(filled)).astype(filled.dtype)
        return pa.array(changed, plain.type, mask=absent).cast(kind)

    return read


def _texts(change: Callable[[str], str]) -> Read:
    def read(values: pa.Array) -> pa.Array:
        encoded = values.dictionary_encode()
        distinct = pa.array([change(text) for text in encoded.dictionary.to_pylist()], values.type)
        return distinct.take(encoded.indices)

    return read


def _filled(value: object) -> Read:
    return lambda values: pc.fill_null(values, pa.scalar(value, values.type))


def _one_before(values: pa.Array) -> pa.Array:
    rows = np.maximum(np.arange(len(values)) - 1, 0)
    return values.take(pa.array(rows))


def _absent(values: pa.Array) -> pa.Array:
    return pa.nulls(len(values), values.type)


def _zero_lost(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(values, pa.scalar(0, values.type)), None, values)


def _as_latin_1(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def _as_float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _to(unit: int) -> Read:
    return _numbers(lambda micros: micros // unit * unit)


LOG_KINDS: Mapping[str, LogKind] = MappingProxyType(
    {
        "local_time": LogKind(
            says="a local clock (9 hours later) is read as UTC",
            fits=pa.types.is_timestamp,
            read=_numbers(lambda micros: micros + HOURS * _MICROSECONDS_PER_HOUR),
        ),
        "daylight_saving": LogKind(
            says="daylight saving is applied a second time: an hour later",
            fits=pa.types.is_timestamp,
            read=_numbers(lambda micros: micros + _MICROSECONDS_PER_HOUR),
        ),
        "milliseconds": LogKind(
            says="milliseconds are read as microseconds: 1970",
            fits=pa.types.is_timestamp,
            read=_numbers(lambda micros: micros // 1000),
        ),
        "date_only": LogKind(
            says="the time of day is lost",
            fits=pa.types.is_timestamp,
            read=_to(24 * _MICROSECONDS_PER_HOUR),
        ),
        "float32_time": LogKind(
            says="seconds since 1970 pass through a float32, which holds every 128th",
            fits=pa.types.is_timestamp,
            read=_numbers(lambda micros: (_as_float32(micros / 1e6) * 1e6).astype(np.int64)),
        ),
        "not_decoded": LogKind(
            says="the field is not decoded: always null",
            fits=lambda kind: _is_number(kind) or bool(pa.types.is_string(kind)),
            read=_absent,
        ),
        "null_as_zero": LogKind(
            says="a null is decoded as 0", fits=_is_number, read=_filled(0)
        ),
        "null_as_default": LogKind(
            says="a null is decoded as -1", fits=_is_number, read=_filled(-1)
        ),
        "zero_as_null": LogKind(
            says="0 is the wire format's default, and is decoded as null", fits=_is_number, read=_zero_lost
        ),
        "narrow_integer": LogKind(
            says="the integer is read as 8 signed bits",
            fits=pa.types.is_integer,
            read=_numbers(lambda values: values.astype(np.int8)),
        ),
        "index_from_one": LogKind(
            says="the index is taken to count from 1: one less",
            fits=pa.types.is_integer,
            read=_numbers(lambda values: values - 1),
        ),
        "decimals_lost": LogKind(
            says="the number is cut at the decimal point",
            fits=pa.types.is_floating,
            read=_numbers(np.trunc),
        ),
        "per_cent": LogKind(
            says="a fraction is read as per cent: a hundredth of it",
            fits=pa.types.is_floating,
            read=_numbers(lambda values: values / 100),
        ),
        "row_late": LogKind(
            says="the value of the row before: a join that is off by one",
            fits=lambda kind: _is_number(kind) or bool(pa.types.is_string(kind)),
            read=_one_before,
        ),
        "lower_case": LogKind(
            says="the text is lower-cased", fits=pa.types.is_string, read=_texts(str.lower)
        ),
        "upper_case": LogKind(
            says="the text is upper-cased", fits=pa.types.is_string, read=_texts(str.upper)
        ),
        "latin_1": LogKind(
            says="UTF-8 is decoded as Latin-1", fits=pa.types.is_string, read=_texts(_as_latin_1)
        ),
        "quoted": LogKind(
            says="the quotes around the text stay",
            fits=pa.types.is_string,
            read=_texts(lambda text: f'"{text}"'),
        ),
        "cut_text": LogKind(
            says="the text is cut after 4 characters",
            fits=pa.types.is_string,
            read=_texts(lambda text: text[:4]),
        ),
        "null_as_text": LogKind(
            says='a null is decoded as the text "None"', fits=pa.types.is_string, read=_filled("None")
        ),
    }
)  # fmt: skip
