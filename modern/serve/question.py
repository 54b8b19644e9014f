"""What an infer request asks: logged requests as JSON or Arrow, and the checkpoints to answer."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.json

from replay.adapters.oip_body import Body, ProtocolError, decode_body
from replay.checkpoint import CheckpointGraph
from replay.logs.schema import validate
from replay.request import RequestBatch
from replay.trace import EMPTY, Array

JSON_INPUT = "request_json"
ARROW_INPUT = "request_arrow"
_WHERE = "the infer request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What clients may ask of the server.

    Attributes:
        checkpoints: What an answer may hold; those that are settable may be given.
        default: What it holds where the request names nothing.
        schema: Of logged requests written as JSON; None takes Arrow only.
    """

    checkpoints: CheckpointGraph
    default: tuple[str, ...]
    schema: pa.Schema | None


def make_offer(checkpoints: CheckpointGraph, *, schema: pa.Schema | None, probe: bool) -> Offer:
    """Offer a stack's outputs; under `probe` all its checkpoints, to record and to give."""
    outputs = [name for name, one in checkpoints.items() if one.stage == "output"]
    if probe:
        return Offer(checkpoints=checkpoints, default=tuple(outputs), schema=schema)
    shown = [
        replace(
            checkpoints[name],
            after=tuple(parent for parent in checkpoints[name].after if parent in outputs),
            settable=False,
        )
        for name in outputs
    ]
    graph = CheckpointGraph(shown, stack=checkpoints.stack)
    return Offer(checkpoints=graph, default=tuple(outputs), schema=schema)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """An infer request, read as far as costs little: no logged request is parsed yet.

    Attributes:
        id: The client's own, repeated in the answer.
        capture: Checkpoints to answer with.
        binary: Those of them that are answered as bytes.
        given: Values to carry on with.
        rows: Candidates and history steps: its work.
        texts: Logged requests as JSON objects; empty where `table` holds them.
        table: Logged requests as Arrow.
    """

    id: str | None
    capture: tuple[str, ...]
    binary: frozenset[str]
    given: Mapping[str, Array]
    rows: int
    texts: tuple[bytes, ...] = ()
    table: pa.Table | None = None

    @property
    def joins(self) -> Hashable | None:
        """Questions with the same value may be scored as one batch; None is scored alone."""
        if self.given:
            return None
        return (frozenset(self.capture), None if self.table is None else self.table.schema)


def read_question(data: bytes, offer: Offer, *, json_length: int | None) -> Question:
    """Decode a body.

    Raises:
        ProtocolError: It does not follow the protocol, or asks for what is not offered.
    """
    body = decode_body(data, side="inputs", json_length=json_length)
    identifier = body.facts.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise _refused(f"'id' is {identifier!r}, not a string", "leave it out, or send a string")
    capture, binary = _outputs(body, offer)
    logged = {
        name: body.tensors[name] for name in (JSON_INPUT, ARROW_INPUT) if name in body.tensors
    }
    given = {name: array for name, array in body.tensors.items() if name not in logged}
    _check_inputs(logged, given, offer)
    elements = [bytes(element) for array in logged.values() for element in array.reshape(-1)]
    if JSON_INPUT in logged:
        rows = sum(element.count(b'"ad_id"') for element in elements)
        texts, table = tuple(elements), None
    else:
        texts, table = (), _table(elements)
        rows = sum(_num_values(table, name) for name in ("candidates", "history"))
    return Question(
        id=identifier,
        capture=capture,
        binary=binary,
        given=given or EMPTY,
        rows=rows,
        texts=texts,
        table=table,
    )


def batch_of(question: Question, offer: Offer) -> RequestBatch:
    """The logged requests, checked like those of a logged day (docs/formats.md).

    Raises:
        ProtocolError: They are not of the schema, or one breaks a rule of logged requests.
        LogError: A required field is missing, or of another type.
    """
    table = question.table
    if table is None:
        assert offer.schema is not None, "JSON was refused before"
        table = pa.concat_tables([_parsed(text, offer.schema) for text in question.texts])
    else:
        _check_buffers(table)
    checked = validate(table, day=None, where=_WHERE)
    if checked.rejections:
        first = checked.rejections[0]
        raise _refused(
            f"logged request {first.request_id!r} is refused ({first.reason}): {first.detail}",
            "send requests that docs/formats.md calls valid",
        )
    return checked.batch


def _outputs(body: Body, offer: Offer) -> tuple[tuple[str, ...], frozenset[str]]:
    asked = body.facts.get("outputs")
    all_binary = _flag(body.facts, "binary_data_output")
    if not asked:
        return offer.default, frozenset(offer.default if all_binary else ())
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise _refused("'outputs' is no list of objects", "name outputs as the protocol says")
    names = tuple(dict.fromkeys(str(one.get("name")) for one in asked))
    for name in names:
        if name not in offer.checkpoints:
            raise _refused(
                f"there is no output {name!r} (known: {', '.join(offer.checkpoints)})",
                "ask for outputs of the model's metadata",
            )
    chosen = {str(one.get("name")) for one in asked if _flag(one, "binary_data", all_binary)}
    return names, frozenset(chosen)


def _flag(entry: Mapping[str, Any], name: str, default: bool = False) -> bool:  # noqa: FBT001, FBT002 - a default, as in dict.get
    parameters = entry.get("parameters", {})
    value = parameters.get(name, default) if isinstance(parameters, dict) else None
    if not isinstance(value, bool):
        raise _refused(f"{name} is {value!r}", "send true or false")
    return value


def _check_inputs(logged: Mapping[str, Array], given: Mapping[str, Array], offer: Offer) -> None:
    if len(logged) != 1 or not all(array.dtype.hasobject for array in logged.values()):
        raise _refused(
            f"the inputs are {', '.join([*logged, *given]) or 'none'}",
            f"send one BYTES tensor, {JSON_INPUT!r} or {ARROW_INPUT!r}",
        )
    if JSON_INPUT in logged and offer.schema is None:
        raise _refused(
            "this server knows no schema to read JSON by",
            f"send {ARROW_INPUT!r}, or start it with --like LOGS",
        )
    if not all(array.size for array in logged.values()):
        raise _refused("it holds no logged request", "send at least one")
    for name in given:
        if name not in offer.checkpoints or not offer.checkpoints[name].settable:
            raise _refused(
                f"there is no input {name!r}",
                f"send {JSON_INPUT!r} or {ARROW_INPUT!r} alone; checkpoints are given to a server "
                "started with --probe",
            )


def _table(elements: list[bytes]) -> pa.Table:
    try:
        return pa.concat_tables([pa.ipc.open_stream(element).read_all() for element in elements])
    except (pa.ArrowException, OSError) as error:
        raise _refused(
            f"{ARROW_INPUT!r} is no Arrow stream: {_first_line(error)}",
            "write it with pyarrow.ipc.new_stream, all streams of one schema",
        ) from error


def _num_values(table: pa.Table, name: str) -> int:
    place = table.schema.get_field_index(name)
    if place < 0 or not pa.types.is_list(table.schema.field(place).type):
        return 0  # refused with its reason when the requests are checked
    return sum(len(chunk.values) for chunk in table.column(place).chunks)


def _check_buffers(table: pa.Table) -> None:
    """Refuse offsets that point outside of their buffers, before anything follows them."""
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise _refused(
            f"{ARROW_INPUT!r} is damaged: {_first_line(error)}", "write the stream again"
        ) from error


def _parsed(text: bytes, schema: pa.Schema) -> pa.Table:
    """One logged request, by the types of the schema; fields it lacks are null."""
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(text),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 64),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema,
                newlines_in_values=True,
                unexpected_field_behavior="error",
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _refused(
            f"a logged request can not be read: {_first_line(error)}",
            "send one JSON object with the log's own fields and types, times as "
            "2019-11-30T12:00:00Z",
        ) from error
    if table.num_rows != 1:
        raise _refused(f"an element holds {table.num_rows} objects", "send one object an element")
    return table


def json_from_record(record: Mapping[str, Any]) -> bytes:
    """A row of `RecordBatch.to_pylist()` as an element of `request_json`."""
    return json.dumps(record, default=lambda value: value.isoformat()).encode()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _refused(what: str, fix: str) -> ProtocolError:
    return ProtocolError(f"{what}.", where=_WHERE, fix=fix)
