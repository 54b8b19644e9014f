"""A question to a stack, and ways to ask it otherwise that must give the same answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.checkpoint import CheckpointGraph, RowAxis
from replay.engine.capability_calls import varying
from replay.engine.pieces import rows_of
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import EMPTY, Array, BatchKeys

Places = NDArray[np.int64]
Values = Mapping[str, Array]
AXES: tuple[RowAxis, ...] = ("request", "candidate", "step")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What a stack is asked: requests, what to record, what to use."""

    batch: RequestBatch
    capture: Sequence[str]
    given: Values = field(default_factory=lambda: EMPTY)


# Asks a stack, and answers in the rows of the question.
Ask = Callable[[Stack, Question], Values]


def plainly(stack: Stack, question: Question) -> Values:
    """Ask as it stands."""
    trace = stack.score(question.batch, capture=question.capture, given=question.given)
    return trace.values


def in_order(order: Callable[[int], Places], ask: Ask = plainly) -> Ask:
    """The requests stand in another order."""

    def asked(stack: Stack, question: Question) -> Values:
        requests, graph = order(question.batch.num_requests), stack.checkpoints
        rows = {axis: rows_of_requests(question.batch.keys, axis, requests) for axis in AXES}
        moved = replace(
            question,
            batch=question.batch.take(requests),
            given=_taken(question.given, rows, graph),
        )
        back = {axis: np.argsort(places) for axis, places in rows.items()}
        return _taken(ask(stack, moved), back, graph)

    return asked


def in_pieces(cuts: Callable[[int], Sequence[int]], ask: Ask = plainly) -> Ask:
    """The batch comes in pieces, cut before these requests."""

    def asked(stack: Stack, question: Question) -> Values:
        batch, graph = question.batch, stack.checkpoints
        size, answers = batch.num_requests, []
        for start, stop in pairwise([0, *(c for c in cuts(size) if 0 < c < size), size]):
            run = range(start, stop)
            given = {
                name: values[rows_of(batch.keys, graph[name].rows, run)]
                for name, values in question.given.items()
            }
            piece = replace(question, batch=batch.slice(start, stop), given=given)
            answers.append(ask(stack, piece))
        return {name: np.concatenate([one[name] for one in answers]) for name in question.capture}

    return asked


def among_others(before: int, behind: int, ask: Ask = plainly) -> Ask:
    """Other requests are scored beside them: what a padded batch is filled with."""

    def asked(stack: Stack, question: Question) -> Values:
        size, graph = question.batch.num_requests, stack.checkpoints
        ends = np.arange(before) % size, size - 1 - np.arange(behind) % size
        places = np.concatenate([ends[0], np.arange(size), ends[1]])
        rows = {axis: rows_of_requests(question.batch.keys, axis, places) for axis in AXES}
        wider = replace(
            question,
            batch=_renamed(question.batch.take(places)),
            given=_taken(question.given, rows, graph),
        )
        own, keys = range(before, before + size), wider.batch.keys
        return {
            name: values[rows_of(keys, graph[name].rows, own)]
            for name, values in ask(stack, wider).items()
        }

    return asked


def candidates_in_order(key: Callable[[BatchKeys], Places], ask: Ask = plainly) -> Ask:
    """The candidates of each request stand in another order: by rising key."""

    def asked(stack: Stack, question: Question) -> Values:
        keys, graph = question.batch.keys, stack.checkpoints
        order = np.lexsort((key(keys), keys.request_of("candidate")))
        rows = {axis: np.arange(keys.num_rows(axis)) for axis in AXES} | {"candidate": order}
        moved = replace(
            question,
            batch=_with_candidates(question.batch, order),
            given=_taken(question.given, rows, graph),
        )
        back = {axis: np.argsort(places) for axis, places in rows.items()}
        return _taken(ask(stack, moved), back, graph)

    return asked


def with_records(change: Callable[[pa.RecordBatch], pa.RecordBatch], ask: Ask = plainly) -> Ask:
    """The same log in another form."""

    def asked(stack: Stack, question: Question) -> Values:
        return ask(stack, replace(question, batch=RequestBatch(change(question.batch.records))))

    return asked


def recorded_apart(parts: Callable[[Sequence[str]], Sequence[Sequence[str]]]) -> Ask:
    """Checkpoints are recorded in several runs, a part of them each."""

    def asked(stack: Stack, question: Question) -> Values:
        found: dict[str, Array] = {}
        for part in parts(question.capture):
            found |= plainly(stack, replace(question, capture=part))
        return found

    return asked


def given_its_own(stage: str) -> Ask:
    """What a stage produced is given back to it: it carries on with what it would have used."""

    def asked(stack: Stack, question: Question) -> Values:
        own = [
            name
            for name, one in stack.checkpoints.items()
            if one.stage == stage and one.settable and name not in question.given
        ]
        produced = plainly(stack, replace(question, capture=own)) if own else EMPTY
        return plainly(stack, replace(question, given={**question.given, **produced}))

    return asked


def varied(variation: str) -> Ask:
    """A change that the stack itself offers through `Varies`."""

    def asked(stack: Stack, question: Question) -> Values:
        able = varying(stack)
        assert able is not None, "its variations were listed"
        return able.vary(variation, question.batch, question.capture, question.given).values

    return asked


def once_more(times: int) -> Ask:
    """The batch has been scored before, so often."""

    def asked(stack: Stack, question: Question) -> Values:
        for _ in range(times):
            plainly(stack, question)
        return plainly(stack, question)

    return asked


def rows_of_requests(keys: BatchKeys, axis: RowAxis, requests: Places) -> Places:
    """The rows of these requests along an axis, in their order."""
    if axis == "request":
        return requests
    offsets = keys.candidate_offsets if axis == "candidate" else keys.step_offsets
    runs = [np.arange(offsets[request], offsets[request + 1]) for request in requests]
    return np.concatenate([np.zeros(0, np.int64), *runs])


def _taken(values: Values, rows: Mapping[RowAxis, Places], graph: CheckpointGraph) -> Values:
    return {name: one[rows[graph[name].rows]] for name, one in values.items()}


def _renamed(batch: RequestBatch) -> RequestBatch:
    """Ids of their own for requests that stand in it twice."""
    ids = [f"{one}#{place}" for place, one in enumerate(batch.keys.request_ids.to_pylist())]
    place = batch.records.schema.get_field_index("request_id")
    field = batch.records.schema.field(place)
    return RequestBatch(batch.records.set_column(place, field, pa.array(ids, field.type)))


def _with_candidates(batch: RequestBatch, order: Places) -> RequestBatch:
    place = batch.records.schema.get_field_index("candidates")
    lists = batch.records.column(place)
    values = lists.values.take(pa.array(order))
    renewed = pa.ListArray.from_arrays(lists.offsets, values, type=lists.type)
    field = batch.records.schema.field(place)
    return RequestBatch(batch.records.set_column(place, field, renewed))
