from __future__ import annotations

import json
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.adapters.oip_body import (
    DTYPES,
    Body,
    ProtocolError,
    bytes_tensor,
    decode_body,
    encode_body,
)

NUMBERS = [dtype for name, dtype in DTYPES.items() if name != "BYTES"]
SHAPES = npst.array_shapes(min_dims=1, max_dims=3, max_side=4)
ARRAYS = st.sampled_from(NUMBERS).flatmap(lambda dtype: npst.arrays(dtype, SHAPES))


@given(array=ARRAYS, texts=st.lists(st.binary(max_size=9), max_size=5))
def test_bytes_carry_every_bit(array: np.ndarray[Any, Any], texts: list[bytes]) -> None:
    tensors = {"numbers": array, "texts": bytes_tensor(texts)}

    data, length = encode_body(
        Body(facts={"id": "7"}, tensors=tensors), side="inputs", binary=tensors
    )
    body = decode_body(data, side="inputs", json_length=length)

    assert body.facts == {"id": "7"}
    assert body.tensors["numbers"].dtype == array.dtype
    assert body.tensors["numbers"].tobytes() == array.tobytes()
    assert body.tensors["texts"].tolist() == texts


@given(array=ARRAYS, texts=st.lists(st.text(max_size=9), max_size=5))
def test_json_carries_every_number_it_can_write(
    array: np.ndarray[Any, Any], texts: list[str]
) -> None:
    tensors = {"numbers": array, "texts": bytes_tensor([t.encode() for t in texts])}

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        with pytest.raises(ProtocolError, match="NaN or infinite"):
            encode_body(Body(facts={}, tensors=tensors), side="outputs")
        return
    data, length = encode_body(Body(facts={}, tensors=tensors), side="outputs")

    assert length is None
    body = decode_body(data, side="outputs")
    assert body.tensors["numbers"].tobytes() == array.tobytes()
    assert [t.decode() for t in body.tensors["texts"]] == texts


def a_tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "INT32", "shape": [2], "data": [1, 2]} | changes


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (a_tensor(data=[1]), "1 values do not fill"),
        (a_tensor(data=[1, 2.5]), "other values than INT32"),
        (a_tensor(data=[1, True]), "other values than INT32"),
        (a_tensor(data=[1, 2**31]), "does not fit INT32"),
        (a_tensor(datatype="INT7"), "datatype is 'INT7'"),
        (a_tensor(shape=[-1]), "not a list of sizes"),
        (a_tensor(shape="2"), "not a list of sizes"),
        (a_tensor(data=None), "neither 'data' nor bytes"),
        (a_tensor(datatype="BYTES"), "BYTES in JSON are strings"),
        (a_tensor(parameters={"binary_data_size": 8}), "8 bytes are announced and 0 left"),
        (a_tensor(parameters={"binary_data_size": "8"}), "no object with a whole"),
        (a_tensor(name=3), "has no name"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        decode_body(json.dumps({"inputs": [entry]}).encode(), side="inputs")

    assert caught.value.where == "inputs[0]"


@pytest.mark.parametrize(
    ("data", "length", "says"),
    [
        (b"{", None, "no JSON"),
        (b"[]", None, "no object with a list of 'inputs'"),
        (b'{"inputs": [], "x": 1}rest', 22, "4 bytes after the JSON"),
        (b"{}", 5, "5 and the body 2 bytes long"),
        (b"\xff", None, "no JSON"),
        (b"[" * 100_000, None, "no JSON"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(data: bytes, length: int | None, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode_body(data, side="inputs", json_length=length)


def test_rows_may_be_nested_as_the_protocol_allows() -> None:
    entry = a_tensor(shape=[2, 2], data=[[1, 2], [3, 4]])

    body = decode_body(json.dumps({"inputs": [entry]}).encode(), side="inputs")

    assert body.tensors["x"].tolist() == [[1, 2], [3, 4]]
