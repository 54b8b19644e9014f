"""One entry of features.json: its parameters checked and turned into a frozen record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from modern.features.columns import SOURCES, Columns, axis_of
from replay.checkpoint import RowAxis
from replay.errors import ArtifactError

INT64 = np.iinfo(np.int64)
Checked = TypeVar("Checked", bound="FeatureSpec")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """A declared feature; every kind is a subclass whose fields are its parameters.

    Attributes:
        name: Unique in its feature set; its checkpoint is `features.<name>`.
    """

    kind: ClassVar[str] = ""
    dtype: ClassVar[str] = "float32"
    exact: ClassVar[bool] = False
    unit: ClassVar[str] = "1"

    name: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Paths of the logged fields it reads, those of the history's steps left out."""
        raise NotImplementedError

    @property
    def axis(self) -> RowAxis:
        """A candidate feature when one of its sources is of the candidate, likewise of a step."""
        axes = {axis_of(source) for source in self.reads} - {"request"}
        return axes.pop() if axes else "request"

    def flaw(self) -> str | None:
        """What is wrong with its parameters together, if anything."""
        return None

    def compute(self, columns: Columns) -> NDArray[Any]:
        """[row of the axis], in the kind's dtype."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSpec(FeatureSpec):
    """A real feature: float32, missing is NaN; computed in float64 and rounded once."""

    def compute(self, columns: Columns) -> NDArray[np.float32]:
        """[row of the axis], float32."""
        with np.errstate(all="ignore"):  # NaN is a missing value; what overflows is infinite
            return self.values(columns).astype(np.float32)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        """[row of the axis], float64, not yet rounded."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteSpec(FeatureSpec):
    """A discrete feature: integers, compared exactly."""

    exact: ClassVar[bool] = True

    @property
    def cardinality(self) -> int:
        """How many codes there are."""
        raise NotImplementedError

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """[row], the code of each value of the feature, 0 for a missing one."""
        raise NotImplementedError


def spec_from_json(
    kind: type[Checked],
    entry: Mapping[str, Any],
    *,
    where: str,
    sources: tuple[str, ...] = SOURCES,
) -> Checked:
    """A feature of one kind from its JSON object.

    Args:
        kind: The class.
        entry: The object, with its "kind".
        where: Leads to it, for errors.
        sources: What its paths of logged fields may start with.

    Raises:
        ArtifactError: A parameter is absent, unknown, or not of its type.
    """
    wanted = {f.name: f for f in fields(kind)}
    absent = [n for n, f in wanted.items() if n not in entry and f.default is MISSING]
    unknown = [n for n in entry if n not in wanted and n != "kind"]
    for label, names in (("lacks", absent), ("has unknown", unknown)):
        if names:
            raise broken(
                f"a feature of kind {kind.kind!r} {label} parameters: {', '.join(names)}", where
            )
    values = {}
    for name, field in wanted.items():
        if name in entry:
            values[name] = _CHECKS[str(field.type)](entry[name], f"{where}, {name!r}")
            if "Source" in str(field.type):
                paths = values[name] if isinstance(values[name], tuple) else (values[name],)
                for path in paths:
                    check_source(path, f"{where}, {name!r}", sources=sources)
    feature = kind(**values)
    flaw = feature.flaw()
    if flaw is not None:
        raise broken(flaw, f"{where}, feature {feature.name!r}")
    return feature


def broken(what: str, where: str) -> ArtifactError:
    """The error for a feature set that does not follow docs/features.md."""
    return ArtifactError(
        f"{what}.", where=where, fix="write features.json as docs/features.md says; train again"
    )


def check_source(path: str, where: str, *, sources: tuple[str, ...] = SOURCES) -> str:
    """A path of a logged field, of one of the rows that `sources` names.

    Raises:
        ArtifactError: It is no such path.
    """
    whole, starts = sources[0], sources[1:]
    if path != whole and not any(path.startswith(s) and path != s for s in starts):
        raise broken(
            f"{path!r} is no source (known: {whole}, {'<field>, '.join(starts)}<field>)", where
        )
    return path


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise broken(f"{value!r} is no text", where)
    return value


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise broken(f"{value!r} is no integer", where)
    if not INT64.min <= value <= INT64.max:
        raise broken(f"{value} does not fit in int64", where)
    return value


def _real(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise broken(f"{value!r} is no finite number", where)
    return float(value)


def _normalise(value: Any, where: str) -> str:
    if value not in {"none", "lower"}:
        raise broken(f"{value!r} is no normalisation (known: none, lower)", where)
    return str(value)


def _many(check: Callable[[Any, str], Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    def check_all(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise broken(f"{value!r} is no list", where)
        return tuple(check(item, where) for item in value)

    return check_all


# By the annotation of the parameter, so that a kind's fields are its whole declaration.
Source = str
Normalise = Literal["none", "lower"]
_CHECKS: Mapping[str, Callable[[Any, str], Any]] = {
    "str": _text,
    "Source": _text,
    "int": _integer,
    "float": _real,
    "Normalise": _normalise,
    "tuple[float, ...]": _many(_real),
    "tuple[int, ...]": _many(_integer),
    "tuple[Source, ...]": _many(_text),
}
