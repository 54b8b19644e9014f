"""`python -m modern serve`: any stack behind HTTP."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from replay.errors import ConfigError

_STACK = "modern.transformer.stack:open_stack"


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "serve", help="answer requests over HTTP (Open Inference Protocol v2)"
    )
    parser.set_defaults(run=_serve)
    parser.add_argument("--artifact", type=Path, help="what the stack is opened from")
    parser.add_argument("--stack", default=_STACK, help=f"package.module:open_stack ({_STACK})")
    parser.add_argument(
        "--options", default="{}", help="further options of the stack, as a JSON object"
    )
    parser.add_argument(
        "--like", type=Path, help="a log: its schema reads JSON requests, its first ones warm up"
    )
    parser.add_argument("--model", default="ranker", help="its name in the path (ranker)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (8080)")
    parser.add_argument("--deadline-ms", type=float, default=200.0, help="of a request (200)")
    parser.add_argument("--max-wait-ms", type=float, default=2.0, help="for company (2)")
    parser.add_argument("--max-batch-rows", type=int, default=16_384, help="of a batch (16384)")
    parser.add_argument("--max-batch-ms", type=float, default=50.0, help="of a batch (50)")
    parser.add_argument("--max-requests", type=int, default=512, help="taken on at once (512)")
    parser.add_argument("--drain-s", type=float, default=1.0, help="not ready, yet answering (1)")
    parser.add_argument(
        "--probe", action="store_true", help="every checkpoint may be asked for and given"
    )


def _serve(options: argparse.Namespace) -> int:
    from modern.serve.admission import Limits  # the libraries come with these
    from modern.serve.server import ServerConfig, make_service, serve
    from replay.adapters.example import example_batch
    from replay.registry import StackSpec, open_stack

    spec = StackSpec(
        name=options.model,
        opener=options.stack,
        artifact=options.artifact,
        options=_json_object(options.options),
    )
    config = ServerConfig(
        model=options.model,
        host=options.host,
        port=options.port,
        deadline_s=options.deadline_ms / 1e3,
        max_wait_s=options.max_wait_ms / 1e3,
        drain_s=options.drain_s,
        probe=options.probe,
        limits=Limits(
            max_batch_rows=options.max_batch_rows,
            max_batch_s=options.max_batch_ms / 1e3,
            max_requests=options.max_requests,
        ),
    )
    example = None if options.like is None else example_batch(str(options.like))
    schema = None if example is None else example.records.schema
    service = make_service(open_stack(spec), config, schema=schema, example=example)
    serve(service, config, say=_say)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{text!r} is no JSON object.", where="--options", fix="""write '{"threads": 1}'"""
        )
    return value
