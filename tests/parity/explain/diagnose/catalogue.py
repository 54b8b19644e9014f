"""Known mistakes over random columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.explain.diagnose import Evidence
from tests.parity.explain.diagnose.columns import COLUMNS, Change, Frame, Rng, evidence

REALS = ("lognormal", "heavy", "normal", "missing", "zeros", "log1p", "rate")
POSITIVE = ("lognormal", "missing", "zeros", "log1p")
CANDIDATES = ("lognormal", "heavy", "counts", "missing", "hash", "small_ids")


def _where_missing(value: float) -> Change:
    return lambda v, _: np.where(np.isnan(v), value, v)


def _swap_zero(v: np.ndarray, _: Frame) -> np.ndarray:
    return np.where(np.isnan(v), 0.0, np.where(v == 0, np.nan, v))


def _map(f: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(v: np.ndarray, _: Frame) -> np.ndarray:
        with np.errstate(all="ignore"):
            return f(v.astype(np.float64) if v.dtype.kind == "f" else v)

    return change


def _digits(count: int) -> Change:
    def rounded(v: np.ndarray) -> np.ndarray:
        return np.array([float(f"{x:.{count - 1}e}") for x in v])

    return _map(rounded)


def _bfloat16(v: np.ndarray) -> np.ndarray:
    words = v.astype(np.float32).view(np.uint32)
    rounded = (words + 0x7FFF + ((words >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isnan(v), v, rounded.astype(np.uint32).view(np.float32))


def _place(f: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda _, frame: frame.by_request(f)


def _shuffled(_: np.ndarray, frame: Frame) -> np.ndarray:
    return frame.by_request(frame.rng.permutation)


def _stale(v: np.ndarray, frame: Frame) -> np.ndarray:
    parts = np.split(v, frame.starts[1:])
    return np.concatenate([
        np.where(np.arange(len(p)) < len(b), np.resize(b, len(p)), p)
        for b, p in zip([parts[0], *parts], parts, strict=False)
    ])  # fmt: skip


def _swapped(v: np.ndarray, frame: Frame) -> np.ndarray:
    other = frame.rng.permutation(v)
    frame.beside["others"] = {"features.y": other, "features.z": frame.rng.permutation(v)}
    frame.beside["stages"] = {"features.y": "feature", "features.z": "feature"}
    return other


def _relabelled(v: np.ndarray, frame: Frame) -> np.ndarray:
    codes = np.unique(v)
    return frame.rng.permutation(codes)[np.searchsorted(codes, v)]


def _hashed_again(v: np.ndarray, frame: Frame) -> np.ndarray:
    """Texts of 40 kinds, hashed twice with different seeds: collisions on both sides."""
    texts = frame.rng.integers(0, 40, len(v))
    first, second = frame.rng.integers(1, 64, (2, 40))
    frame.reference = first[texts].astype(v.dtype)
    return second[texts]


def _text_case(v: np.ndarray, frame: Frame) -> np.ndarray:
    """A third of the texts hold capitals, and hash to other codes when not lower-cased."""
    codes = np.unique(v)
    new = codes.copy()
    moved = frame.rng.choice(len(codes), len(codes) // 3, replace=False)
    new[moved] = frame.rng.permutation(np.arange(1000, 1000 + len(moved)))
    return new[np.searchsorted(codes, v)]


def _edges(v: np.ndarray, frame: Frame) -> np.ndarray:
    """Whole numbers in buckets by multiples of 4, some just on an edge."""
    source = frame.rng.integers(0, 24, len(v))
    frame.reference = (1 + source // 4).astype(np.int32)
    frame.beside["context"] = {"candidate.source": source.astype(np.float64)}
    return 1 + (source - 1) // 4


def _edges_unseen(v: np.ndarray, frame: Frame) -> np.ndarray:
    below = _edges(v, frame)
    frame.beside.clear()
    return below


def _signed_hash(v: np.ndarray, frame: Frame) -> np.ndarray:
    hashes = frame.rng.integers(0, 2**32, len(v))
    frame.reference = (hashes % 63).astype(np.int32)
    return np.fmod(np.where(hashes >= 2**31, hashes - 2**32, hashes), 63)


def _clock(theirs: float, ours: float = 9.0) -> Change:
    def change(v: np.ndarray, frame: Frame) -> np.ndarray:
        starts = 437_000 + frame.rng.uniform(0, 240, len(np.unique(frame.requests)))
        times = starts[frame.requests]
        frame.reference = np.mod(np.floor(times + ours), 24).astype(np.float32)
        frame.beside["times"] = {"logged_at": times}
        return np.mod(np.floor(times + theirs), 24)

    return change


def _weekday_clock(v: np.ndarray, frame: Frame) -> np.ndarray:
    """One day of a log: UTC's weekday is one and the same all day."""
    times = (24.0 * 18_230 + frame.rng.uniform(0, 24, len(np.unique(frame.requests))))[
        frame.requests
    ]
    frame.reference = np.mod(np.floor((times + 9) / 24) + 3, 7).astype(np.float32)
    frame.beside["times"] = {"logged_at": times}
    return np.mod(np.floor(times / 24) + 3, 7)


def _prior(v: np.ndarray, frame: Frame) -> np.ndarray:
    trials = frame.rng.integers(0, 5000, len(v)).astype(np.float64)
    events = frame.rng.binomial(trials.astype(np.int64), 0.01)
    frame.reference = ((events + 0.005 * 200) / (trials + 200)).astype(np.float32)
    frame.beside["context"] = {
        "user.impressions": trials,
        "user.age": frame.rng.normal(size=len(v)),
    }
    return (events + 0.0055 * 200) / (trials + 200)


def _dropped(v: np.ndarray, frame: Frame) -> np.ndarray:
    return np.where(frame.rng.random(len(v)) < 0.2, 0.0, v / 0.8)


def _one_value(value: float) -> Change:
    return lambda v, _: np.full_like(v, value)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A mistake, the names it may be given, and the columns that can have it."""

    name: str
    kinds: frozenset[str]
    columns: tuple[str, ...]
    change: Change


def case(name: str, kinds: str, columns: Sequence[str], change: Change) -> Case:
    return Case(name=name, kinds=frozenset(kinds.split("|")), columns=tuple(columns), change=change)


CASES: tuple[Case, ...] = (
    case("default -1", "constant_default", ["missing", "zeros"], _where_missing(-1.0)),
    case("default 0", "constant_default", ["missing"], _where_missing(0.0)),
    case("default 3.7", "constant_default", ["missing", "zeros"], _where_missing(3.7)),
    case("missing zero swap", "missing_zero_swap", ["zeros"], _swap_zero),
    case("0 for missing", "value_for_missing", ["zeros"],
         _map(lambda v: np.where(v == np.nanmin(v), np.nan, v))),
    case("seconds for days", "scale", [*REALS, "counts", "few", "small_ids"],
         _map(lambda v: v * 86400)),
    case("minutes for seconds", "scale", [*REALS, "few"], _map(lambda v: v / 60)),
    case("thousandths", "scale", [*REALS, "counts"], _map(lambda v: v * 1000)),
    case("a factor of 1.5", "scale", [*REALS, "counts", "few"], _map(lambda v: v * 1.5)),
    case("a weight of 1.01", "scale", ["logit", "normal"], _map(lambda v: v * 1.01)),
    case("an odd factor", "scale", REALS, _map(lambda v: v * 0.837261)),
    case("base 10", "scale", ["log1p"], _map(lambda v: v / np.log(10))),
    case("sign", "sign", ["normal", "heavy", "logit"], _map(np.negative)),
    case("absolute", "absolute", ["normal", "heavy"], _map(np.abs)),
    case("negated mask", "negation|hash_variant|relabelled", ["flag"], _map(lambda v: 1 - v)),
    case("complement", "negation", ["probability", "rate"], _map(lambda v: 1 - v)),
    case("affine", "affine", [*REALS, "counts"], _map(lambda v: v * 0.37 - 1.7)),
    case("offset", "offset", [*REALS, "logit"], _map(lambda v: v + 0.731)),
    case("off by one", "off_by_one", ["bucket", "hash", "small_ids", "counts", "encoded"],
         _map(lambda v: v + 1)),
    case("one lower, not below 0", "off_by_one|id_offset", ["bucket", "hash", "encoded"],
         _map(lambda v: np.maximum(v - 1, v.min()))),
    case("id offset", "id_offset", ["small_ids", "ids", "encoded", "hash"],
         _map(lambda v: v + 17)),
    case("an entry more", "id_offset", ["encoded", "hash"], _map(lambda v: v + (v >= v.min() + 9))),
    case("reserved id", "reserved_id", ["bucket"], _map(lambda v: np.where(v == 3, 0, v))),
    case("log for log1p", "log_for_log1p", ["log1p"], _map(lambda v: np.log(np.expm1(v)))),
    case("log1p for log", "log1p_for_log", ["normal", "logit"], _map(lambda v: np.logaddexp(0, v))),
    case("log left out", "log_left_out", ["log1p"], _map(np.expm1)),
    case("exponential", "log_left_out", ["normal", "logit"], _map(np.exp)),
    case("log1p twice", "log_added", POSITIVE, _map(np.log1p)),
    case("log10", "log_added", ["lognormal", "rate"], _map(np.log10)),
    case("log2", "log_added", ["lognormal", "rate"], _map(np.log2)),
    case("square", "square", ["lognormal", "normal", "heavy"], _map(np.square)),
    case("square root", "square_root", ["lognormal", "rate", "missing"], _map(np.sqrt)),
    case("inverse", "inverse", ["lognormal", "rate"], _map(lambda v: 1 / v)),
    case("double sigmoid", "double_sigmoid", ["probability", "logit", "rate"],
         _map(lambda v: 1 / (1 + np.exp(-v)))),
    case("sigmoid left out", "sigmoid_left_out", ["probability"],
         _map(lambda v: np.log(v / (1 - v)))),
    case("calibration", "calibration", ["probability"],
         _map(lambda v: 1 / (1 + np.exp(-(1.1 * np.log(v / (1 - v)) - 0.3))))),
    case("seconds in log1p", "scale_in_log", ["log1p"], _map(lambda v: np.log1p(np.expm1(v) * 3600))),
    case("9 hours in log1p", "shift_in_log", ["log1p"], _map(lambda v: np.log1p(np.expm1(v) + 9))),
    case("clipped above", "clipped", [*REALS[:5], "counts"],
         _map(lambda v: np.minimum(v, np.float32(np.nanquantile(v, 0.7))))),
    case("clipped below", "clipped", ["normal", "heavy", "log1p", "counts"],
         _map(lambda v: np.maximum(v, np.float32(np.nanquantile(v, 0.3))))),
    case("clipped both", "clipped", ["normal", "heavy"], _map(lambda v: np.clip(v, -0.5, 0.5))),
    case("two digits", "rounding", REALS, _digits(2)),
    case("three digits", "rounding", REALS, _digits(3)),
    case("one decimal", "rounding", ["lognormal", "heavy", "normal"],
         _map(lambda v: np.round(v, 1))),
    case("float16", "precision_float16", REALS, _map(lambda v: v.astype(np.float16))),
    case("bfloat16", "precision_bfloat16", REALS, _map(_bfloat16)),
    case("truncated", "integer_truncation", ["lognormal", "heavy", "normal", "missing"],
         _map(np.trunc)),
    case("rounded down", "integer_truncation", ["heavy", "normal"], _map(np.floor)),
    case("multiples", "quantised", ["normal", "log1p"], _map(lambda v: np.round(v / 0.37) * 0.37)),
    case("ids in float32", "precision_float32", ["ids", "large"],
         _map(lambda v: v.astype(np.float32).astype(np.int64))),
    case("int32 wrap", "integer_wrap", ["ids", "large"],
         _map(lambda v: v.astype(np.int32).astype(np.int64))),
    case("int16 wrap", "integer_wrap", ["ids", "large"],
         _map(lambda v: v.astype(np.int16).astype(np.int64))),
    case("uint8 wrap", "integer_wrap", ["small_ids", "large"],
         _map(lambda v: v.astype(np.uint8).astype(np.int64))),
    case("fewer buckets", "modulus", ["small_ids"], _map(lambda v: v % 1000)),
    case("integer division", "integer_division|integer_truncation", ["counts", "small_ids"],
         _map(lambda v: v // 24)),
    case("9 hours later", "hour_shift", ["hour"], _map(lambda v: (v + 9) % 24)),
    case("5 hours earlier", "hour_shift", ["hour"], _map(lambda v: (v - 5) % 24)),
    case("twelve hours", "half_day_clock", ["hour"], _map(lambda v: v % 12)),
    case("a day later", "day_shift", ["weekday"], _map(lambda v: (v + 1) % 7)),
    case("UTC for Tokyo", "utc_offset|hour_shift", ["hour"], _clock(0.0)),
    case("half an hour off", "utc_offset", ["hour"], _clock(5.5, 0.0)),
    case("UTC's weekday", "utc_offset", ["weekday"], _weekday_clock),
    case("the next row", "lag", CANDIDATES, _place(lambda p: np.roll(p, -1))),
    case("the row before", "lag", CANDIDATES, _place(lambda p: np.roll(p, 1))),
    case("reversed", "reversed", CANDIDATES, _place(lambda p: p[::-1])),
    case("the first for all", "repeated", CANDIDATES, _place(lambda p: np.full_like(p, p[0]))),
    case("sorted", "sorted", ["lognormal", "heavy", "counts", "small_ids"], _place(np.sort)),
    case("shuffled", "permuted_rows", ["lognormal", "heavy", "small_ids"], _shuffled),
    case("stale", "stale", ["lognormal", "heavy", "counts", "hash"], _stale),
    case("swapped", "swapped_columns", ["lognormal", "heavy", "counts", "hash", "few"], _swapped),
    case("another hash", "hash_variant", ["hash"], _relabelled),
    case("another seed", "hash_variant|codes_merged", ["hash"], _hashed_again),
    case("another vocabulary", "relabelled", ["encoded"], _relabelled),
    case("case of text", "codes_partly_relabelled", ["hash"], _text_case),
    case("edge side", "bucket_edge_side", ["bucket"], _edges),
    case("edge side, source unseen", "bucket_edge_side|off_by_one", ["bucket"], _edges_unseen),
    case("signed hash", "hash_sign", ["hash"], _signed_hash),
    case("always 0", "constant", [*REALS, "hash", "hour"], _one_value(0)),
    case("prior", "rate_prior", ["rate"], _prior),
    case("dropout", "dropout", ["lognormal", "normal", "logit"], _dropped),
)  # fmt: skip


def contaminated(found: Evidence, rng: Rng, share: float) -> Evidence:
    """Some rows of the challenger hold what other rows hold."""
    theirs = found.challenger.copy()
    hit = rng.random(len(theirs)) < share
    theirs[hit] = rng.permutation(found.challenger)[hit]
    return replace(found, challenger=theirs)


def planted(one: Case, column: str, seed: int, *, share: float = 0.0) -> Evidence:
    """One case on one column; a share of the rows is wrong for no reason."""
    rng = np.random.default_rng(seed)
    by_request = column in {"hour", "weekday", "lognormal", "heavy"} and seed % 2 == 1
    moves_rows = set(one.columns) >= {"lognormal", "heavy"} and one.kinds & {
        "lag", "reversed", "repeated", "sorted", "permuted_rows", "stale",
    }  # fmt: skip
    made = COLUMNS[column](rng, by_request and not moves_rows)
    with np.errstate(all="ignore"):
        changed = one.change(made.reference, made)
        found = evidence(made, changed)
    return contaminated(found, rng, share) if share else found


def all_planted(seeds: Sequence[int], share: float) -> Iterator[tuple[Case, str, int, Evidence]]:
    for place, one in enumerate(CASES):
        for column in one.columns:
            for seed in seeds:
                yield one, column, seed, planted(one, column, 1000 * place + seed, share=share)
