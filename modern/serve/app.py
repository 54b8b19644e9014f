"""The routes of the Open Inference Protocol v2, and /metrics."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modern.serve.batching import Batcher, LateError, ShedError
from modern.serve.metrics import Metrics
from modern.serve.question import ARROW_INPUT, JSON_INPUT, Offer, read_question
from modern.serve.scoring import Answer
from replay.adapters.oip_body import DATATYPES, JSON_LENGTH_HEADER, ProtocolError
from replay.engine.travel import json_from_graph
from replay.errors import LogError, StackError, ToolkitError

DEADLINE_HEADER = "X-Deadline-Ms"
# Of a request's time; the rest is the answer's way to its client, whose clock judges.
SERVER_PART = 0.95
# Of a request's body; 10,000 candidates of ten fields are 3 MB of JSON.
MAX_BODY_BYTES = 32 << 20


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """What the routes answer from.

    Attributes:
        model: Its name in the path.
        version: The artifact's digest.
        platform: What scores, in words.
        identity: Of the stack, as plain JSON.
        offer: What may be asked.
        batcher: What answers.
        deadline_s: Of requests that name none.
        max_deadline_s: No request may wait longer, whatever it asks.
        draining: Whether the server is about to leave: it answers, and says it is not ready.
    """

    model: str
    version: str
    platform: str
    identity: Mapping[str, Any]
    offer: Offer
    batcher: Batcher
    metrics: Metrics
    deadline_s: float
    max_deadline_s: float
    draining: bool = field(default=False)


def make_app(service: Service) -> Starlette:
    """The application; the batcher lives as long as it does."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.stop()

    routes = _Routes(service)
    model = "/v2/models/{model}"
    listed = [
        Route("/v2", routes.server),
        Route("/v2/health/live", routes.live),
        Route("/v2/health/ready", routes.ready),
        Route("/metrics", routes.metrics),
    ]
    for path in (model, model + "/versions/{version}"):
        listed += [
            Route(path, routes.metadata),
            Route(path + "/ready", routes.model_ready),
            Route(path + "/infer", routes.infer, methods=["POST"]),
        ]
    return Starlette(
        routes=listed,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error, Exception: _our_fault},
    )


class _Routes:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def server(self, _: Request) -> Response:
        extensions = ["binary_tensor_data"]
        return JSONResponse({"name": "modern.serve", "version": "1", "extensions": extensions})

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        return self._readiness({})

    async def model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return self._readiness({"name": self.service.model})

    async def metadata(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse(metadata_of(self.service))

    async def metrics(self, _: Request) -> Response:
        service = self.service
        service.metrics.show(service.batcher.admission, service.batcher.clock())
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")

    async def infer(self, request: Request) -> Response:
        clock = self.service.batcher.clock
        arrived = clock()
        outcome = "failed"
        try:
            self._check_model(request)
            answer = await self._answer(request, arrived)
            outcome = "answered"
            return _answered(answer)
        except ShedError as error:
            outcome = f"shed_{error.shed.reason}"
            return _overloaded(error)
        except LateError:
            outcome = "late"
            return _error(504, "the deadline passed before the answer was there.")
        except (ProtocolError, LogError, StackError) as error:
            outcome = "refused"
            return _error(400, str(error))
        except HTTPException:
            outcome = "refused"
            raise
        except ToolkitError as error:
            return _error(500, str(error))
        except ClientDisconnect:
            outcome = "refused"
            raise
        finally:
            self.service.metrics.request(outcome, clock() - arrived)

    async def _answer(self, request: Request, arrived: float) -> Answer:
        service = self.service
        deadline = arrived + SERVER_PART * self._deadline_s(request)
        data = await _body(request)
        question = read_question(data, service.offer, json_length=_json_length(request))
        return await service.batcher.ask(
            question, size=len(data), arrived=arrived, deadline=deadline
        )

    def _deadline_s(self, request: Request) -> float:
        text = request.headers.get(DEADLINE_HEADER)
        if text is None:
            return self.service.deadline_s
        try:
            asked = float(text) / 1e3
        except ValueError:
            asked = math.nan
        if not 0 < asked < math.inf:
            raise ProtocolError(
                f"{DEADLINE_HEADER} is {text!r}.",
                where="the request's headers",
                fix="send milliseconds above 0, or leave it out",
            )
        return min(asked, self.service.max_deadline_s)

    def _check_model(self, request: Request) -> None:
        service = self.service
        asked, version = request.path_params["model"], request.path_params.get("version")
        if asked != service.model:
            raise HTTPException(404, f"no model is called {asked!r} (known: {service.model})")
        if version not in {None, service.version}:
            raise HTTPException(404, f"there is no version {version!r} (known: {service.version})")

    def _readiness(self, facts: Mapping[str, Any]) -> Response:
        ready = not self.service.draining
        return JSONResponse({**facts, "ready": ready}, status_code=200 if ready else 503)


def metadata_of(service: Service) -> dict[str, Any]:
    """The model's metadata; under `parameters`, an extension, what a replay needs to know."""
    offer = service.offer
    inputs = [JSON_INPUT, ARROW_INPUT] if offer.schema is not None else [ARROW_INPUT]
    return {
        "name": service.model,
        "versions": [service.version],
        "platform": service.platform,
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in inputs],
        "outputs": [
            {
                "name": name,
                "datatype": DATATYPES[np.dtype(one.dtype)],
                "shape": [-1, *one.shape],
            }
            for name, one in offer.checkpoints.items()
        ],
        "parameters": {
            "identity": service.identity,
            "checkpoints": json_from_graph(offer.checkpoints),
        },
    }


async def _body(request: Request) -> bytes:
    """The whole body, refused as soon as it is known to be too long."""
    chunks, size = [], 0
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise HTTPException(413, f"the body has {announced} bytes, at most {MAX_BODY_BYTES}")
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    return b"".join(chunks)


def _json_length(request: Request) -> int | None:
    text = request.headers.get(JSON_LENGTH_HEADER)
    if text is None:
        return None
    if not text.isdigit():
        raise ProtocolError(
            f"{JSON_LENGTH_HEADER} is {text!r}.",
            where="the request's headers",
            fix="send the length of the JSON in bytes",
        )
    return int(text)


def _answered(answer: Answer) -> Response:
    if answer.json_length is None:
        return Response(answer.data, media_type="application/json")
    headers = {JSON_LENGTH_HEADER: str(answer.json_length)}
    return Response(answer.data, media_type="application/octet-stream", headers=headers)


def _overloaded(error: ShedError) -> Response:
    """503: the client may ask again, here after a while or elsewhere at once."""
    after_s = error.shed.retry_after_s
    return JSONResponse(
        {"error": f"overloaded: {error.shed.says}", "retry_after_ms": math.ceil(after_s * 1e3)},
        status_code=503,
        # The header knows whole seconds only.
        headers={"Retry-After": str(max(1, math.ceil(after_s)))},
    )


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these alone"
    return _error(error.status_code, error.detail)


def _our_fault(_: Request, error: Exception) -> Response:
    """What nobody foresaw: the client hears its kind, the server's log has the traceback."""
    return _error(500, f"the server failed: {type(error).__name__}")


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)
