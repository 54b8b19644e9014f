"""Benign variations: changes of how a stack is asked that must not change any answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from parity.drill.question import (
    Ask,
    Places,
    among_others,
    candidates_in_order,
    given_its_own,
    in_order,
    in_pieces,
    once_more,
    recorded_apart,
    varied,
    with_records,
)
from replay.engine.capability_calls import varying
from replay.request import RequestBatch, concat_batches
from replay.stack import Stack
from replay.trace import BatchKeys

SHUFFLES = 5
SIZES = (1, 2, 3, 5, 8, 13, 21, 34)
CUTS = (1, 7, 31, 50)
PADDINGS = ((1, 0), (0, 1), (0, 7), (16, 16), (3, 60), (128, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """A change that must not matter: its name, and how it asks."""

    name: str
    ask: Ask


def variations(stages: Collection[str], *, seed: int = 0) -> Iterator[Variation]:
    """Every benign variation of a stack with checkpoints of these stages."""
    for name, ask in (
        *_orders(seed),
        *_batches(),
        *_candidates(seed),
        *_forms(),
        *_recordings(stages),
        *_combined(seed),
    ):
        yield Variation(name=name, ask=ask)


def own_variations(stack: Stack) -> Iterator[Variation]:
    """What the stack itself says must not matter."""
    able = varying(stack)
    for name in () if able is None else able.variations():
        yield Variation(name=f"its own: {name}", ask=varied(name))


def _orders(seed: int) -> Iterator[tuple[str, Ask]]:
    yield "requests reversed", in_order(_backwards)
    for turn in (1, 17):
        yield f"requests rotated by {turn}", in_order(partial(_rotated, turn))
    for number in range(SHUFFLES):
        yield f"requests shuffled, {number}", in_order(partial(_shuffled, seed + number))


def _batches() -> Iterator[tuple[str, Ask]]:
    for size in SIZES:
        yield f"batches of {size}", in_pieces(partial(_every, size))
    for cut in CUTS:
        yield f"cut after {cut}", in_pieces(partial(_one_cut, cut))
    for before, behind in PADDINGS:
        name = f"padded with {before} requests before and {behind} behind"
        yield name, among_others(before, behind)


def _candidates(seed: int) -> Iterator[tuple[str, Ask]]:
    yield "candidates reversed", candidates_in_order(_from_the_end)
    for number in range(SHUFFLES):
        drawn = partial(_drawn, seed + number)
        yield f"candidates shuffled, {number}", candidates_in_order(drawn)


def _forms() -> Iterator[tuple[str, Ask]]:
    forms: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {
        "columns in reverse order": lambda records: records.select(records.schema.names[::-1]),
        "columns by alphabet": lambda records: records.select(sorted(records.schema.names)),
        "a column more": lambda records: records.append_column(
            "unread", pa.array(np.arange(records.num_rows))
        ),
        "fields in reverse order": _fields_reversed,
        "written and read again": _written_and_read,
        "a copy": lambda records: records.take(pa.array(np.arange(records.num_rows))),
    }
    for name, change in forms.items():
        yield name, with_records(change)


def _recordings(stages: Collection[str]) -> Iterator[tuple[str, Ask]]:
    yield "recorded one by one", recorded_apart(lambda names: [[name] for name in names])
    yield "recorded in two halves", recorded_apart(lambda names: [names[::2], names[1::2]])
    yield "recorded last first", recorded_apart(lambda names: [names[::-1]])
    yield "recorded by fives", recorded_apart(_by_fives)
    for stage in stages:
        yield f"its own {stage} values given back", given_its_own(stage)
    for times in (1, 2, 3):
        yield f"scored {times + 1} times", once_more(times)


def _combined(seed: int) -> Iterator[tuple[str, Ask]]:
    for number, size in enumerate((1, 4, 9, 16, 25, 36)):
        order = partial(_shuffled, seed + 100 + number)
        yield f"shuffled, in batches of {size}", in_order(order, in_pieces(partial(_every, size)))
    for number in range(4):
        order = partial(_shuffled, seed + 200 + number)
        turned = candidates_in_order(_from_the_end, among_others(number, 5))
        yield f"shuffled, padded, candidates reversed, {number}", in_order(order, turned)


def _backwards(size: int) -> Places:
    return np.arange(size)[::-1]


def _rotated(turn: int, size: int) -> Places:
    return np.roll(np.arange(size), turn)


def _shuffled(seed: int, size: int) -> Places:
    return np.random.default_rng(seed).permutation(size)


def _every(step: int, size: int) -> Sequence[int]:
    return range(step, size, step)


def _one_cut(cut: int, _: int) -> Sequence[int]:
    return [cut]


def _from_the_end(keys: BatchKeys) -> Places:
    return -np.arange(keys.num_candidates)


def _drawn(seed: int, keys: BatchKeys) -> Places:
    return np.random.default_rng(seed).permutation(keys.num_candidates)


def _by_fives(names: Sequence[str]) -> Sequence[Sequence[str]]:
    return [names[start : start + 5] for start in range(0, len(names), 5)]


def _fields_reversed(records: pa.RecordBatch) -> pa.RecordBatch:
    place = records.schema.get_field_index("user")
    struct = records.column(place)
    fields = list(struct.type)[::-1]
    mask = struct.is_null() if struct.null_count else None
    turned = pa.StructArray.from_arrays(
        [struct.field(field.name) for field in fields], fields=fields, mask=mask
    )
    return records.set_column(place, pa.field("user", turned.type), turned)


def _written_and_read(records: pa.RecordBatch) -> pa.RecordBatch:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as stream:
        stream.write_batch(records)
    read = pa.ipc.open_stream(sink.getvalue()).read_next_batch()
    return concat_batches([RequestBatch(read)]).records
