"""A server of the Open Inference Protocol v2 as a stack: `open: replay.adapters.open_inference:open_stack`.

The server gets logged requests as they are (`request_arrow`, docs/serving.md) and computes its own
features: what is judged is what is served. A server that leaves and comes back is waited for.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import urllib3

from replay.adapters.oip_body import (
    JSON_LENGTH_HEADER,
    Body,
    ProtocolError,
    bytes_tensor,
    decode_body,
    encode_body,
)
from replay.checkpoint import CheckpointGraph
from replay.engine.travel import graph_from_json, identity_from_json
from replay.errors import ArtifactError, StackError, WorkerError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

_REQUESTS = "request_arrow"
# Not there, not ready, or overloaded: asking again may help. All else is an answer.
_RETRIED = frozenset({429, 502, 503, 504})
# From a restart's first refused connection to seconds of loading: 0.1, 0.2, ... 2 s, 2 s.
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
# Ten minutes are the server's own business: the replay's time limit per batch comes before.
_ANSWER_S = 600.0
# Requests in one call: their candidates are one batch of the server's.
_REQUESTS_PER_CALL = 64


def open_stack(
    *,
    url: str,
    model: str,
    name: str = "served",
    retry_s: float = 60.0,
    deadline_ms: float = 10_000.0,
) -> ServedStack:
    """Open a running server, and remember which version of the model it serves.

    Args:
        url: Such as "http://127.0.0.1:8080".
        model: The model's name in the path.
        name: What reports call the stack.
        retry_s: How long a server that does not answer, or sheds, is asked again.
        deadline_ms: What a call may take the server, sent as X-Deadline-Ms.

    Raises:
        WorkerError: Nothing answers there within `retry_s`.
        ArtifactError: What answers does not serve the model, or does not take logged requests.
    """
    client = Client(url=url.rstrip("/"), model=model, retry_s=retry_s, deadline_ms=deadline_ms)
    metadata = client.metadata()
    facts = metadata.get("parameters", {})
    takes = [one.get("name") for one in metadata.get("inputs", [])]
    if _REQUESTS not in takes or not {"identity", "checkpoints"} <= set(facts):
        raise ArtifactError(
            f"the model takes {', '.join(map(str, takes)) or 'nothing'}, not logged requests.",
            where=f"{client.path}",
            fix="serve a stack with `python -m modern serve` (docs/serving.md)",
        )
    identity = identity_from_json(facts["identity"])
    return ServedStack(
        name=name,
        checkpoints=graph_from_json(facts["checkpoints"], stack=name),
        client=client,
        who=replace(identity, name=name),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedStack:
    """A model behind a server.

    Attributes:
        name: What reports call it.
        checkpoints: What the server offers: outputs, or everything of one started with --probe.
        client: How it is asked.
        who: The identity the server had when it was opened.
    """

    name: str
    checkpoints: CheckpointGraph
    client: Client = field(repr=False)
    who: StackIdentity

    def identity(self) -> StackIdentity:
        """What the server says of its stack; every answer has to come from the same artifact."""
        return self.who

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Ask the server.

        Raises:
            StackError: The server refuses the requests, or `given` does not fit.
            ArtifactError: It serves another artifact than when it was opened.
            WorkerError: It did not answer for too long.
        """
        wanted = {name: self.checkpoints[name] for name in capture}
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        # A call with given values holds the whole batch: they are in its row order.
        step = max(batch.num_requests, 1) if given else _REQUESTS_PER_CALL
        answers = [
            self.client.infer(
                batch.slice(start, start + step), tuple(wanted), given, self.who.digest
            )
            for start in range(0, batch.num_requests, step)
        ]
        values = {
            name: np.concatenate([answer[name] for answer in answers])
            if answers
            else np.empty((0, *one.shape), one.dtype)
            for name, one in wanted.items()
        }
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=values,
            checkpoints=self.checkpoints,
            capture=capture,
        )


class Client:
    """Asks one model of one server, again where that may help."""

    def __init__(self, *, url: str, model: str, retry_s: float, deadline_ms: float) -> None:
        self.path = f"{url}/v2/models/{model}"
        self._retry_s = retry_s
        self._deadline_ms = deadline_ms
        # Nothing is retried below this class: it alone knows for how long.
        self._pool = urllib3.PoolManager(retries=False, timeout=_ANSWER_S)

    def metadata(self) -> dict[str, Any]:
        """What the server says of the model."""
        answer = self._ask("GET", self.path, None, {})
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ArtifactError(
                "what answers is no server of the Open Inference Protocol.",
                where=self.path,
                fix="name the server's address without a path, and the model",
            )
        return found

    def infer(
        self,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array],
        version: str,
    ) -> Mapping[str, Array]:
        """The captured checkpoints of some requests.

        Raises:
            ArtifactError: The answer comes from another version.
        """
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.records.schema) as writer:
            writer.write_batch(batch.records)
        tensors = {_REQUESTS: bytes_tensor([sink.getvalue()]), **given}
        outputs = [{"name": name, "parameters": {"binary_data": True}} for name in capture]
        data, length = encode_body(
            Body(facts={"outputs": outputs}, tensors=tensors), side="inputs", binary=tensors
        )
        headers = {JSON_LENGTH_HEADER: str(length), "X-Deadline-Ms": str(self._deadline_ms)}
        answer = self._ask("POST", f"{self.path}/infer", data, headers)
        text = answer.headers.get(JSON_LENGTH_HEADER)
        body = decode_body(
            answer.data, side="outputs", json_length=None if text is None else int(text)
        )
        found = body.facts.get("model_version")
        if found != version:
            raise ArtifactError(
                f"the server serves {found} now, and served {version} when the replay began.",
                where=self.path,
                fix="leave the served artifact alone while it is replayed, and start again",
            )
        missing = [name for name in capture if name not in body.tensors]
        if missing:
            raise ProtocolError(
                f"the answer lacks {', '.join(missing)}.",
                where=self.path,
                fix="serve a stack that records what it declares",
            )
        return body.tensors

    def _ask(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        """One answer that is neither an overload nor a server that is away.

        A request is a pure computation: asking it twice changes nothing.
        """
        until = time.monotonic() + self._retry_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                answer = self._pool.request(method, path, body=data, headers=dict(headers))
                trouble = f"status {answer.status}: {_says(answer)}"
            except (urllib3.exceptions.HTTPError, OSError) as error:
                answer, trouble = None, f"{type(error).__name__}: {error}"
            if answer is not None and answer.status not in _RETRIED:
                return self._checked(answer, path)
            left = until - time.monotonic()
            if left <= 0:
                raise WorkerError(
                    f"the server gave no answer within {self._retry_s:g} s ({trouble}).",
                    where=path,
                    fix="start the server, give it room, or raise retry_s",
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _checked(self, answer: urllib3.BaseHTTPResponse, path: str) -> urllib3.BaseHTTPResponse:
        if answer.status == 200:
            return answer
        if answer.status == 404:
            raise ArtifactError(
                f"the server does not serve it: {_says(answer)}.",
                where=path,
                fix="name a model that the server knows",
            )
        raise StackError(
            f"the server refuses with status {answer.status}: {_says(answer)}",
            where=path,
            fix="read what it says; the server's own log has more",
        )


def _says(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        return str(json.loads(answer.data)["error"])
    except (ValueError, KeyError, TypeError):
        return str(answer.reason)
