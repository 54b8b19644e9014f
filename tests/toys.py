"""Small numpy stacks that keep the whole contract, for tests of what judges and runs stacks.

`open_stack` makes `tests.toys:open_stack` a stack for the registry; `toy_batch` makes requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_json
from replay.request import TIMESTAMP, RequestBatch, batch_from_records
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, BatchKeys, Trace, check_given, make_trace

Values = Mapping[str, Array]
Step = Callable[[RequestBatch, Values], Array]
Bug = Callable[[Array], Array]

CHANNELS = 3
MIX = np.array([[0.5, -0.25, 0.125], [0.03125, 0.5, -1.0], [0.25, 0.25, 0.5]], dtype=np.float32)
AFTER_ROUNDING = Rounding(ulps=0.5, why="computed in float64, rounded once to float32")
# Every toy layer is a sum of at most 8 float32 terms below 8 in size: gamma_8 * 64 < 1e-4 / 2.
LAYER_ROUNDING = Rounding(absolute=5e-5, why="a float32 sum of 8 terms below 8 in size")
PCTR_ROUNDING = Rounding(absolute=2e-5, why="a quarter of the logit's bound, and one rounding")

CANDIDATE = pa.struct(
    {
        "ad_id": pa.int64(),
        "bid_micros": pa.int64(),
        "price": pa.float64(),
        "affinity": pa.float64(),
        "category": pa.int64(),
        "click": pa.int64(),
    }
)
SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "logged_at": TIMESTAMP,
        "context": pa.struct({"slot": pa.int64()}),
        "user": pa.struct({"age_days": pa.float64()}),
        "history": pa.list_(pa.struct({"ad_id": pa.int64(), "at": TIMESTAMP})),
        "candidates": pa.list_(CANDIDATE),
    }
)


def toy_batch(num_requests: int = 12, *, candidates: int = 6, seed: int = 0) -> RequestBatch:
    """Requests with two to `candidates` candidates, missing ages and prices, and clicks."""
    rng = np.random.default_rng(seed)
    records = [_request(rng, number, candidates) for number in range(num_requests)]
    return batch_from_records(pa.Table.from_pylist(records, schema=SCHEMA))


def _request(rng: np.random.Generator, number: int, candidates: int) -> dict[str, Any]:
    def maybe(value: float) -> float | None:
        return None if rng.random() < 0.2 else value

    count = int(rng.integers(2, candidates + 1))
    shown = int(rng.integers(count))
    logged_at = datetime(2019, 11, 30, tzinfo=UTC) + timedelta(minutes=int(rng.integers(1440)))
    return {
        "request_id": f"r-{number}",
        "logged_at": logged_at,
        "context": {"slot": int(rng.integers(1, 4))},
        "user": {"age_days": maybe(float(rng.uniform(0, 900)))},
        "history": [
            {"ad_id": int(rng.integers(50)), "at": logged_at - timedelta(hours=h + 1)}
            for h in range(int(rng.integers(3)))
        ],
        "candidates": [
            {
                "ad_id": 2**40 + 7 * row + int(rng.integers(7)),
                "bid_micros": int(rng.integers(100_000, 5_000_000)),
                "price": maybe(float(rng.uniform(1, 200))),
                "affinity": maybe(float(rng.normal())),
                "category": int(rng.integers(8)),
                "click": int(rng.integers(2)) if row == shown else None,
            }
            for row in range(count)
        ],
    }


def nudged(values: Array) -> Array:
    """One unit in the last place more: what another mathematics library may give."""
    return np.nextafter(values, np.asarray(np.inf, dtype=values.dtype))


class ToyStack:
    """Features, an encoding, an inner mix, two parallel layers, logit, pctr, eCPM and rank.

    Args:
        name: The stack's name.
        bugs: Checkpoint to what its own code makes of the right value there.
        inner: What it calls its inner mix; sides that name it differently leave it unaligned.
        money: Whether it ranks by eCPM; else by pctr.
        unsettable: Checkpoints that it can only record.
    """

    def __init__(
        self,
        name: str = "toy",
        *,
        bugs: Mapping[str, Bug] = MappingProxyType({}),
        inner: str = "inner.mix",
        money: bool = True,
        unsettable: Collection[str] = (),
    ) -> None:
        self._name = name
        self._bugs = dict(bugs)
        self._inner = inner
        self._unsettable = frozenset(unsettable)
        self._steps: dict[str, Step] = _steps(inner, money=money)
        self._graph = CheckpointGraph(self._declared(money=money), stack=name)
        unknown = set(self._bugs) - set(self._graph)
        assert not unknown, f"no such place for a bug: {unknown}"
        self.passes = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self._graph

    def identity(self) -> StackIdentity:
        digest = digest_of_json({"inner": self._inner, "bugs": sorted(self._bugs)})
        return StackIdentity(name=self._name, digest=digest, training_id="0" * 32)

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        self.passes += 1
        graph, keys = self._graph, batch.keys
        check_given(given, graph, keys, stack=self._name)
        wanted = {graph[name].name for name in capture}
        needed = wanted.union(*(graph.ancestors(name) for name in wanted))
        produced: dict[str, Array] = {}
        used: dict[str, Array] = {}
        for name in graph:
            if name in needed:
                value = self._steps[name](batch, used)
                bug = self._bugs.get(name)
                produced[name] = value if bug is None else bug(value).astype(value.dtype)
                used[name] = given.get(name, produced[name])
        return make_trace(
            stack=self._name, keys=keys, values=produced, checkpoints=graph, capture=capture
        )

    def faults(self) -> tuple[Fault, ...]:
        return (
            Fault(
                kind="weight",
                checkpoint="left",
                where="artifact",
                says="one weight of the left layer is 1.01 times as large",
            ),
            Fault(
                kind="bucket_edge_side",
                checkpoint="features.price_bucket",
                where="code",
                says="a value on a bucket's edge falls below it",
            ),
        )

    def planted(self, fault: Fault) -> ToyStack:
        bug: Bug = (lambda v: v * 1.01) if fault.kind == "weight" else (lambda v: v - (v == 3))
        planted = ToyStack.__new__(ToyStack)
        planted.__dict__ |= self.__dict__ | {"_bugs": self._bugs | {fault.checkpoint: bug}}
        return planted

    def _declared(self, *, money: bool) -> list[Checkpoint]:
        ranked_by = "ecpm_micros" if money else "pctr"
        inner = self._inner
        places = [
            _feature("features.hour", "request", exact=True, unit="hour"),
            _feature("features.age_days", "request", missing="nan"),
            _feature("features.price", "candidate", missing="nan"),
            _feature("features.affinity", "candidate", missing="nan"),
            _feature("features.price_bucket", "candidate", dtype="int32", exact=True),
            _feature("features.category", "candidate", dtype="int64", exact=True),
            _place("encoded.category", "encoding", dtype="int32", after="features.category"),
            _place("encoded.bucket", "encoding", dtype="int32", after="features.price_bucket"),
            _layer(inner, "features.hour", "features.age_days", "features.price"),
            _layer("left", inner, "features.affinity"),
            _layer("right", "features.affinity", "encoded.category"),
            _output("logit", LAYER_ROUNDING, "left", "right", "encoded.bucket"),
            _output("pctr", PCTR_ROUNDING, "logit"),
        ]
        if money:
            rounding = Rounding(ulps=1, why="given pctr, one product in float64")
            places.append(_output("ecpm_micros", rounding, "pctr", dtype="float64"))
        places.append(_place("rank", "output", dtype="int32", after=ranked_by))
        return [
            Checkpoint(
                **{
                    **{field: getattr(one, field) for field in Checkpoint.__slots__},
                    "settable": one.name not in self._unsettable,
                }
            )
            for one in places
        ]


def open_stack(artifact: Path | None = None, **options: Any) -> ToyStack:
    """A toy for the registry. JSON options: `scale` maps checkpoints to a factor of a bug."""
    factors: Mapping[str, float] = options.pop("scale", {})
    bugs: dict[str, Bug] = {
        place: lambda values, by=factor: values * by for place, factor in factors.items()
    }
    return ToyStack(**{"name": "toy", **options, "bugs": bugs})


def _steps(inner: str, *, money: bool) -> dict[str, Step]:
    return {
        "features.hour": lambda b, _: _hour(b),
        "features.age_days": lambda b, _: _log1p(b, "user.age_days"),
        "features.price": lambda b, _: _log1p(b, "candidate.price"),
        "features.affinity": lambda b, _: _numbers(b, "candidate.affinity").astype(np.float32),
        "features.price_bucket": lambda b, _: _bucket(b),
        "features.category": lambda b, _: b.column("candidate.category").fill_null(-1).to_numpy(),
        "encoded.category": lambda _, v: (v["features.category"] % 8).astype(np.int32),
        "encoded.bucket": lambda _, v: v["features.price_bucket"] + np.int32(8),
        inner: _inner_mix,
        "left": lambda _, v: np.tanh(
            v[inner] @ MIX + _filled(v["features.affinity"])[:, np.newaxis]
        ),
        "right": lambda _, v: np.stack(
            [
                _filled(v["features.affinity"]) * np.float32(0.5),
                (v["encoded.category"] / np.float32(8)).astype(np.float32),
                np.cos(_filled(v["features.affinity"])),
            ],
            axis=1,
        ),
        "logit": lambda _, v: (
            v["left"].sum(axis=1)
            - v["right"].sum(axis=1)
            + (v["encoded.bucket"] / np.float32(16)).astype(np.float32)
        ),
        "pctr": lambda _, v: (1 / (1 + np.exp(-v["logit"].astype(np.float64)))).astype(np.float32),
        "ecpm_micros": lambda b, v: (
            1000.0 * v["pctr"].astype(np.float64) * _numbers(b, "candidate.bid_micros")
        ),
        "rank": lambda b, v: rank_by(v["ecpm_micros" if money else "pctr"], b.keys),
    }


def rank_by(values: Array, keys: BatchKeys) -> Array:
    """[candidate] int32: the place in its request, largest first, ties by ad id."""
    order = np.lexsort((keys.ad_ids.to_numpy(), -values, keys.request_of("candidate")))
    rank = np.empty(len(values), dtype=np.int32)
    rank[order] = np.arange(len(values)) - np.repeat(
        keys.candidate_offsets[:-1], np.diff(keys.candidate_offsets)
    )
    return rank


def _inner_mix(batch: RequestBatch, values: Values) -> Array:
    request = batch.keys.request_of("candidate")
    columns = (
        values["features.hour"][request] / np.float32(24),
        _filled(values["features.age_days"])[request] / np.float32(8),
        _filled(values["features.price"]) / np.float32(8),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _numbers(batch: RequestBatch, path: str) -> Array:
    return batch.column(path).to_numpy(zero_copy_only=False).astype(np.float64)


def _log1p(batch: RequestBatch, path: str) -> Array:
    return np.log1p(_numbers(batch, path)).astype(np.float32)


def _hour(batch: RequestBatch) -> Array:
    micros = batch.column("logged_at").cast(pa.int64()).to_numpy()
    return ((micros // 3_600_000_000 + 9) % 24).astype(np.float32)


def _bucket(batch: RequestBatch) -> Array:
    price = _numbers(batch, "candidate.price")
    found = 1 + np.searchsorted([10.0, 50.0, 100.0], price, side="right")
    return np.where(np.isnan(price), 0, found).astype(np.int32)


def _filled(values: Array) -> Array:
    return np.where(np.isnan(values), np.float32(-1), values)


def _feature(name: str, rows: str, **more: Any) -> Checkpoint:
    real = {"dtype": "float32", "rounding": None if more.get("exact") else AFTER_ROUNDING}
    return Checkpoint(**{"name": name, "stage": "feature", "axes": (rows,), **real, **more})


def _place(name: str, stage: Any, *, dtype: str, after: str) -> Checkpoint:
    return Checkpoint(
        name=name, stage=stage, axes=("candidate",), dtype=dtype, after=(after,), exact=True
    )


def _layer(name: str, *after: str) -> Checkpoint:
    return Checkpoint(
        name=name,
        stage="layer",
        axes=("candidate", "channel"),
        shape=(CHANNELS,),
        dtype="float32",
        after=after,
        rounding=LAYER_ROUNDING,
    )


def _output(name: str, rounding: Rounding, *after: str, dtype: str = "float32") -> Checkpoint:
    return Checkpoint(
        name=name,
        stage="output",
        axes=("candidate",),
        dtype=dtype,
        after=after,
        rounding=rounding,
    )


def toys(
    bugs: Mapping[str, Bug] = MappingProxyType({}), **options: Any
) -> tuple[ToyStack, ToyStack]:
    """A reference and a challenger with bugs."""
    return ToyStack("reference", **options), ToyStack("challenger", bugs=bugs, **options)


def bugs_of(*places: str, factor: float = 1.01) -> dict[str, Bug]:
    """A bug at each place: a factor on real values, one more on integers."""

    def bug(values: Array) -> Array:
        return values * np.asarray(factor, values.dtype) if values.dtype.kind == "f" else values + 1

    return dict.fromkeys(places, bug)


def shuffled(batch: RequestBatch, order: Sequence[int]) -> RequestBatch:
    """The batch's requests in another order."""
    return batch.take(np.asarray(order, dtype=np.int64))
