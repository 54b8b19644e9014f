from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from parity.judge.plain import from_plain, plain_from
from parity.judge.report import Report
from replay.errors import ConfigError
from tests.parity.a_report import a_diverged_report


@dataclass(frozen=True)
class Inner:
    value: float | int | None


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"]
    inner: tuple[Inner, ...]
    counts: Mapping[str, int] = field(default_factory=dict)


WHOLE = {"name": "x", "kind": "a", "inner": [{"value": 1}], "counts": {"n": 2}}


def test_a_report_survives_the_way_through_json() -> None:
    report = a_diverged_report()

    text = json.dumps(plain_from(report), allow_nan=False)

    assert from_plain(Report, json.loads(text), where="x") == report


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_becomes_null_and_text_and_comes_back(value: float) -> None:
    plain = plain_from(Inner(value=value))

    assert plain == {"value": None, "value_text": str(value)}
    assert from_plain(Inner, plain, where="x") == Inner(value=value)


def test_nan_becomes_null_and_text_and_comes_back() -> None:
    read = from_plain(Inner, plain_from(Inner(value=math.nan)), where="x")

    assert read.value is not None and math.isnan(read.value)


def test_a_missing_value_is_not_an_infinite_one() -> None:
    assert plain_from(Inner(value=None)) == {"value": None}


def test_numpy_scalars_become_plain_numbers() -> None:
    plain = plain_from(Inner(value=np.float32(0.5)))  # type: ignore[arg-type]

    assert json.dumps(plain) == '{"value": 0.5}'


@pytest.mark.parametrize(("value", "kind"), [(2**53 + 1, int), (1.0, float)])
def test_integers_stay_integers_and_floats_floats(value: float, kind: type) -> None:
    text = json.dumps(plain_from(Inner(value=value)))
    read = from_plain(Inner, json.loads(text), where="x").value

    assert read == value
    assert type(read) is kind


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 3}, "x.name"),
        ({"kind": "c"}, "x.kind"),
        ({"inner": {}}, "x.inner"),
        ({"inner": [{"value": "1"}]}, r"x.inner\[0\].value"),
        ({"inner": [{"value": True}]}, r"x.inner\[0\].value"),
        ({"inner": [{"value": None, "value_text": "many"}]}, "value_text"),
        ({"counts": {"n": 1.5}}, "x.counts.n"),
        ({"more": 1}, "more"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(Outer, WHOLE | change, where="x")

    assert caught.match(named)


def test_a_field_without_a_default_may_not_be_missing() -> None:
    with pytest.raises(ConfigError, match="found 'nothing'"):
        from_plain(Outer, {"name": "x", "kind": "a"}, where="x")
