"""The server's life: open the stack, warm it up, answer, and leave without dropping a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

import pyarrow as pa
import uvicorn

from modern.serve.admission import Admission, BatchCost, Limits
from modern.serve.app import Service, make_app
from modern.serve.batching import Batcher
from modern.serve.metrics import Metrics
from modern.serve.question import make_offer
from modern.serve.scoring import Scorer
from replay.engine.travel import json_from_identity
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import Stack

# Longer than any proxy keeps an idle connection (60 s is usual): the client closes first.
_KEEP_ALIVE_S = 75
_BACKLOG = 2048  # uvicorn's own; what waits here was not accepted yet


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How a stack is served.

    Attributes:
        model: Its name in the path.
        host, port: Where to listen; port 0 takes a free one.
        deadline_s: Of requests that name none.
        max_deadline_s: Of those that do, at most.
        max_wait_s: How long a request waits for company while the thread is idle.
        drain_s: After SIGTERM, how long the server still takes requests while it says that it
            is not ready, so that a load balancer can notice.
        probe: Whether every checkpoint may be asked for and given.
        limits: What is taken on at once.
    """

    model: str = "ranker"
    host: str = "127.0.0.1"
    port: int = 8080
    deadline_s: float = 0.2
    max_deadline_s: float = 10.0
    max_wait_s: float = 0.002
    drain_s: float = 1.0
    probe: bool = False
    limits: Limits = field(default_factory=Limits)


def make_service(
    stack: Stack, config: ServerConfig, *, schema: pa.Schema | None, example: RequestBatch | None
) -> Service:
    """The service around an open stack, warmed up on the example."""
    offer = make_offer(stack.checkpoints, schema=schema, probe=config.probe)
    identity = stack.identity()
    cost = BatchCost()
    metrics = Metrics()
    if example is not None:
        stack.score(example, capture=offer.default)  # what is compiled or filled on first use
    scorer = Scorer(
        stack=stack,
        offer=offer,
        facts={"model_name": config.model, "model_version": identity.digest},
    )
    admission = Admission(config.limits, cost)
    return Service(
        model=config.model,
        version=identity.digest,
        platform=f"parity {identity.device}",
        identity=json_from_identity(identity),
        offer=offer,
        batcher=Batcher(scorer, admission, metrics, max_wait_s=config.max_wait_s),
        metrics=metrics,
        deadline_s=config.deadline_s,
        max_deadline_s=config.max_deadline_s,
    )


def serve(service: Service, config: ServerConfig, *, say: Callable[[str], None]) -> None:
    """Listen until SIGTERM or SIGINT, then drain.

    Raises:
        ConfigError: The address can not be listened on.
    """
    with _listening(config) as listener:
        host, port = listener.getsockname()[:2]
        server = _Server(service, config)
        say(f"{service.model} at http://{host}:{port}/v2/models/{service.model}")
        server.run(sockets=[listener])
    say("drained: every request that was taken on has its answer")


class _Server(uvicorn.Server):
    """uvicorn's, which on a signal first says that it is not ready."""

    def __init__(self, service: Service, config: ServerConfig) -> None:
        settings = uvicorn.Config(
            make_app(service),
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            backlog=_BACKLOG,
            # Every request has its answer by its deadline.
            timeout_graceful_shutdown=int(config.max_deadline_s) + 1,
        )
        super().__init__(settings)
        self._service = service
        self._drain_s = config.drain_s
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; a second signal leaves at once."""
        if self._service.draining or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._service.draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_s, self._leave)

    def _leave(self) -> None:
        self.should_exit = True


def _listening(config: ServerConfig) -> socket.socket:
    try:
        return socket.create_server((config.host, config.port), backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{config.host}:{config.port} can not be listened on: {error}.",
            where="--host and --port",
            fix="name a free port, or 0 for any",
        ) from error
