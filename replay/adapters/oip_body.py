"""Bodies of the Open Inference Protocol v2: JSON, with tensors as JSON lists or as bytes after it.

The protocol's JSON form is https://github.com/kserve/open-inference-protocol; bytes after the
JSON are its binary tensor extension: a tensor says `binary_data_size`, the header
`Inference-Header-Content-Length` how long the JSON is. Only bytes carry every float, NaN included.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from replay.errors import ToolkitError
from replay.trace import Array

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
# An array of `bytes` objects (dtype object) is the protocol's BYTES.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    **{f"{sign}INT{bits}": np.dtype(f"{sign}int{bits}".lower())
       for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}  # fmt: skip
DATATYPES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}
Side = Literal["inputs", "outputs"]
_FIX = "send what the Open Inference Protocol v2 describes (docs/serving.md)"


class ProtocolError(ToolkitError, ValueError):
    """A body that does not follow the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """What a body says.

    Attributes:
        facts: Its JSON object, the tensors left out: `id`, `parameters`, of a request `outputs`.
        tensors: Name to array, in the body's order.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, Array]


def bytes_tensor(elements: Sequence[bytes]) -> Array:
    """[element] of datatype BYTES."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def encode_body(
    body: Body, *, side: Side, binary: Collection[str] = ()
) -> tuple[bytes, int | None]:
    """The body's bytes, and the length of its JSON where bytes of tensors follow it.

    Args:
        body: What to say.
        side: "inputs" in a request, "outputs" in an answer.
        binary: Tensors that follow the JSON as bytes.

    Raises:
        ProtocolError: A float that JSON can not write is to be written in JSON.
    """
    entries: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for name, array in body.tensors.items():
        entry: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[array.dtype],
            "shape": list(array.shape),
        }
        if name in binary:
            tails.append(_to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            entry["data"] = _to_json(name, array)
        entries.append(entry)
    head = json.dumps({**body.facts, side: entries}, allow_nan=False).encode()
    return (head + b"".join(tails), len(head)) if tails else (head, None)


def decode_body(data: bytes, *, side: Side, json_length: int | None = None) -> Body:
    """The inverse of `encode_body`.

    Raises:
        ProtocolError: Saying which part does not follow the protocol.
    """
    if json_length is not None and not 0 <= json_length <= len(data):
        raise _broken(f"{JSON_LENGTH_HEADER} is {json_length} and the body {len(data)} bytes long")
    try:
        facts = json.loads(data[:json_length])
    except (ValueError, RecursionError) as error:
        raise _broken(f"the body is no JSON: {error}") from error
    entries = facts.pop(side, None) if isinstance(facts, dict) else None
    if not isinstance(entries, list):
        raise _broken(f"the body is no object with a list of {side!r}")
    tail = data[json_length:] if json_length is not None else b""
    tensors: dict[str, Array] = {}
    for place, entry in enumerate(entries):
        where = f"{side}[{place}]"
        name, size = _name_and_size(entry, where)
        if name in tensors:
            raise _broken(f"two tensors are called {name!r}", where)
        if size is None:
            tensors[name] = _from_json(entry, where)
            continue
        if not 0 <= size <= len(tail):
            raise _broken(f"{size} bytes are announced and {len(tail)} left", where)
        tensors[name] = _from_bytes(entry, tail[:size], where)
        tail = tail[size:]
    if tail:
        raise _broken(f"{len(tail)} bytes after the JSON belong to no tensor")
    return Body(facts=facts, tensors=tensors)


def _name_and_size(entry: Any, where: str) -> tuple[str, int | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _broken("a tensor has no name", where)
    parameters = entry.get("parameters", {})
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else "?"
    if size is not None and (not isinstance(size, int) or isinstance(size, bool)):
        raise _broken("'parameters' is no object with a whole binary_data_size", where)
    return entry["name"], size


def _shape_of(entry: Mapping[str, Any], where: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    datatype, shape = entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise _broken(f"datatype is {datatype!r} (known: {', '.join(DTYPES)})", where)
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise _broken(f"shape is {shape!r}, not a list of sizes", where)
    return DTYPES[datatype], tuple(shape)


def _from_json(entry: Mapping[str, Any], where: str) -> Array:
    dtype, shape = _shape_of(entry, where)
    data = entry.get("data")
    if not isinstance(data, list):
        raise _broken("it has neither 'data' nor bytes", where)
    flat = _flat(data)
    if len(flat) != math.prod(shape):
        raise _broken(f"{len(flat)} values do not fill the shape {list(shape)}", where)
    if dtype.hasobject:
        if not all(isinstance(value, str) for value in flat):
            raise _broken("BYTES in JSON are strings", where)
        return bytes_tensor([value.encode() for value in flat]).reshape(shape)
    wanted: tuple[type, ...] = (bool,) if dtype.kind == "b" else (int,)
    wanted = (int, float) if dtype.kind == "f" else wanted
    # A type of its own: True is an int to isinstance, and 1.5 an int to numpy.
    if not all(type(value) in wanted for value in flat):
        raise _broken(f"'data' holds other values than {entry['datatype']}", where)
    try:
        return np.array(flat, dtype=dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise _broken(f"a value does not fit {entry['datatype']}: {error}", where) from error


def _flat(data: list[Any]) -> list[Any]:
    """The values of nested lists, row after row."""
    while data and all(isinstance(value, list) for value in data):
        data = [inner for value in data for inner in value]
    return data


def _from_bytes(entry: Mapping[str, Any], data: bytes, where: str) -> Array:
    dtype, shape = _shape_of(entry, where)
    count = math.prod(shape)
    if dtype.hasobject:
        elements = _split(data, where)
        if len(elements) != count:
            raise _broken(f"{len(elements)} elements do not fill the shape {list(shape)}", where)
        return bytes_tensor(elements).reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise _broken(f"{len(data)} bytes do not fill {dtype}{list(shape)}", where)
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _split(data: bytes, where: str) -> list[bytes]:
    """Elements of BYTES: each its length in four bytes, little-endian, then itself."""
    elements: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        if end > len(data):
            raise _broken("an element of BYTES is cut short", where)
        elements.append(data[place + 4 : end])
        place = end
    return elements


def _to_bytes(array: Array) -> bytes:
    if array.dtype.hasobject:
        return b"".join(len(e).to_bytes(4, "little") + e for e in array.reshape(-1))
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _to_json(name: str, array: Array) -> list[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ProtocolError(
            f"{name!r} holds a value that JSON can not write (NaN or infinite).",
            where=f"tensor {name!r}",
            fix='ask for it as bytes: "parameters": {"binary_data": true} of the output',
        )
    if array.dtype.hasobject:
        return [element.decode() for element in array.reshape(-1)]
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def _broken(what: str, where: str = "the body") -> ProtocolError:
    return ProtocolError(f"{what}.", where=where, fix=_FIX)
