"""A batch of questions to their answers: parsed, joined, scored once, and taken apart again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modern.serve.question import Offer, Question, batch_of
from replay.adapters.oip_body import Body, encode_body
from replay.errors import ToolkitError
from replay.request import RequestBatch, concat_batches
from replay.stack import Stack
from replay.trace import Array, BatchKeys, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The body of an answer, and the length of its JSON where bytes follow it."""

    data: bytes
    json_length: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scorer:
    """What turns questions into answers; used by one thread at a time.

    Attributes:
        stack: What scores.
        offer: What may be asked of it.
        facts: What every answer says beside its tensors: the model's name and version.
    """

    stack: Stack
    offer: Offer
    facts: Mapping[str, str]

    def answers(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """One for each question, in order; a question that fails does not fail the others.

        Args:
            questions: Of one value of `joins`; a single one where that is None.
        """
        read = [self._read(question) for question in questions]
        whole = [one for one in read if isinstance(one, RequestBatch)]
        if not whole:
            return [one for one in read if isinstance(one, Exception)]
        try:
            trace = self._score(questions[0], concat_batches(whole) if len(whole) > 1 else whole[0])
        except Exception as error:  # noqa: BLE001 - a stack may raise anything; each client hears of its own
            if len(questions) == 1:
                return [error]
            # Which of them the stack can not score is seen one by one.
            return [self.answers([question])[0] for question in questions]
        found: list[Answer | Exception] = []
        first = 0
        for question, one in zip(questions, read, strict=True):
            if isinstance(one, Exception):
                found.append(one)
                continue
            found.append(self._answer(question, trace, slice(first, first + one.num_requests)))
            first += one.num_requests
        return found

    def _read(self, question: Question) -> RequestBatch | Exception:
        try:
            return batch_of(question, self.offer)
        except ToolkitError as error:
            return error

    def _score(self, question: Question, batch: RequestBatch) -> Trace:
        return self.stack.score(batch, capture=question.capture, given=question.given)

    def _answer(self, question: Question, trace: Trace, requests: slice) -> Answer | Exception:
        keys = trace.keys
        tensors = {
            "candidate_offsets": _own(keys.candidate_offsets, requests),
            "step_offsets": _own(keys.step_offsets, requests),
        }
        for name in question.capture:
            rows = self.offer.checkpoints[name].rows
            tensors[name] = trace[name][_rows(keys, rows, requests)]
        facts = dict(self.facts) if question.id is None else {**self.facts, "id": question.id}
        try:
            data, length = encode_body(
                Body(facts=facts, tensors=tensors), side="outputs", binary=question.binary
            )
        except ToolkitError as error:
            return error
        return Answer(data=data, json_length=length)


def _rows(keys: BatchKeys, axis: str, requests: slice) -> slice:
    if axis == "request":
        return requests
    offsets = keys.candidate_offsets if axis == "candidate" else keys.step_offsets
    return slice(int(offsets[requests.start]), int(offsets[requests.stop]))


def _own(offsets: Array, requests: slice) -> Array:
    """[request + 1] offsets of these requests, from 0."""
    own = offsets[requests.start : requests.stop + 1]
    return np.asarray(own - own[0], dtype=np.int64)
