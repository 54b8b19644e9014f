"""A cause as a folder that can be sent to a colleague: one request, both stacks, a test."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parity.judge.plain import from_plain, plain_from
from parity.plan import Plan, plan_from_json
from replay.digests import digest_of_file
from replay.errors import ConfigError, LogError
from replay.logs.decoding import decode_row_group, open_parquet
from replay.registry import StackSpec, Wrapper
from replay.request import RequestBatch, batch_from_records

SCHEMA = "parity.bundle/1"
REQUEST, DESCRIPTION, TEST = "request.parquet", "bundle.json", "test_reproduce.py"
# A description is a few kilobytes; options of a stack may add some.
_MAX_BYTES = 4 << 20
_LONGEST_NAME = 80  # characters of a checkpoint in a folder's name
_FIX = "replay the day again: it writes its bundles anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A stack as the bundle needs it.

    Attributes:
        name, opener, artifact, options, wrappers: As `StackSpec`; wrappers hold planted bugs.
        digest: Of the artifact, when the cause was found.
        identity: All that was known of it: training, code, versions, device, threads.
    """

    name: str
    opener: str
    artifact: str | None
    options: Mapping[str, Any]
    wrappers: tuple[Mapping[str, Any], ...]
    digest: str
    identity: Mapping[str, Any]

    def spec(self) -> StackSpec:
        """How it is opened."""
        return StackSpec(
            name=self.name,
            opener=self.opener,
            artifact=None if self.artifact is None else Path(self.artifact),
            options=self.options,
            wrappers=tuple(
                Wrapper(function=str(one["function"]), arguments=one["arguments"])
                for one in self.wrappers
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The pair of values that shows the cause.

    Attributes:
        request_id, ad_id: Whose; no ad where the checkpoint has a value a request or a step.
        row: Of the bundle's request.
        inner: Place among the row's inner values.
        reference, challenger: None is a missing value (NaN).
    """

    request_id: str
    ad_id: str | None
    row: int
    inner: int
    reference: float | int | None
    challenger: float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """How small the request became: what it had, and what is left."""

    candidates: tuple[int, int]
    steps: tuple[int, int]
    fields: tuple[int, int]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `bundle.json` says.

    Attributes:
        checkpoint: Of the cause, by the reference's name.
        tolerance: In words.
        also: Other causes that the request shows and could not be rid of.
        plan: As `Plan.to_json` gives it.
        request_digest: Of `request.parquet`.
    """

    checkpoint: str
    stage: str
    reference: Side
    challenger: Side
    tolerance: str
    values: Values
    shrunk: Shrunk
    plan: Mapping[str, Any]
    request_digest: str
    also: tuple[str, ...] = field(default=())

    def to_plan(self) -> Plan:
        """The plan that named the cause."""
        return plan_from_json(self.plan)


def folder_name(number: int, checkpoint: str) -> str:
    """`2-features.price`: a name that no file system takes for a path."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", checkpoint).strip("._-")
    return f"{number}-{safe[:_LONGEST_NAME] or 'checkpoint'}"


def make_folder(folder: Path) -> None:
    """A bundle's folder, and beside it what lets pytest run the tests of all bundles at once."""
    folder.mkdir(parents=True, exist_ok=True)
    # They share a name: by default pytest takes the second for the first one, misplaced.
    settings = "[pytest]\naddopts = --import-mode=importlib\n"
    (folder.parent / "pytest.ini").write_text(settings, encoding="utf-8")


def write_request(folder: Path, request: RequestBatch) -> str:
    """Write the request in the log's format, its pages with checksums; gives its digest."""
    (folder / DESCRIPTION).unlink(missing_ok=True)  # of another request
    table = pa.Table.from_batches([request.records])
    pq.write_table(table, folder / REQUEST, compression="zstd", write_page_checksum=True)
    return digest_of_file(folder / REQUEST)


def write_description(folder: Path, bundle: Bundle) -> None:
    """Write the test, and then `bundle.json`: a folder that has it has everything."""
    (folder / TEST).write_text(_test_text(bundle), encoding="utf-8")
    content = {"schema": SCHEMA, **plain_from(bundle)}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def read_bundle(path: Path) -> tuple[Bundle, RequestBatch]:
    """Read a bundle's description and its one request.

    Raises:
        ConfigError: There is no bundle, it is damaged, or it is of another schema.
    """
    folder = _found(path)
    where = str(folder / DESCRIPTION)
    content = _json(folder / DESCRIPTION)
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        raise ConfigError(
            f"the bundle's schema is {schema!r}, not {SCHEMA!r}.",
            where=where,
            fix="read it with the version of parity that wrote it, or replay the day again",
        )
    bundle = from_plain(Bundle, content, where=where)
    bundle.to_plan()
    for side in (bundle.reference, bundle.challenger):
        if any(set(one) != {"function", "arguments"} for one in side.wrappers):
            raise ConfigError(
                f"a wrapper of {side.name!r} is no function with arguments.", where=where, fix=_FIX
            )
    return bundle, _request(folder / REQUEST, bundle)


def _found(path: Path) -> Path:
    """The folder, also by its beginning: `causes/1` for `causes/1-features.price`."""
    if (path / DESCRIPTION).is_file():
        return path
    begun = []
    if path.name and path.parent.is_dir() and not path.exists():
        begun = sorted(path.parent.glob(f"{_escaped(path.name)}-*/{DESCRIPTION}"))
    if len(begun) == 1:
        return begun[0].parent
    nearby = [path / "causes", path, path.parent]
    known = [one.parent for folder in nearby for one in sorted(folder.glob(f"*/{DESCRIPTION}"))]
    raise ConfigError(
        "there is no bundle.",
        where=str(path),
        fix=f"name one of: {', '.join(map(str, dict.fromkeys(known)))}"
        if known
        else "name a folder of a run's causes, such as runs/<run>/causes/1",
    )


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        content = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the bundle can not be read: {error}.", where=str(path), fix=_FIX
        ) from error
    if not isinstance(content, dict):
        raise ConfigError("the bundle holds no object.", where=str(path), fix=_FIX)
    return content


def _request(path: Path, bundle: Bundle) -> RequestBatch:
    try:
        if digest_of_file(path) != bundle.request_digest:
            raise ConfigError("the request is not the one it was.", where=str(path), fix=_FIX)
        with open_parquet(path) as file:
            table = decode_row_group(file, 0, where=str(path))
        request = batch_from_records(table)
        fits = request.num_requests == 1 and request.num_candidates >= 1
    except (LogError, OSError, KeyError) as error:
        what = error.what if isinstance(error, LogError) else f"{error}."
        raise ConfigError(
            f"the bundle's request can not be read: {what}", where=str(path), fix=_FIX
        ) from error
    if not fits:
        raise ConfigError(
            f"the bundle holds {request.num_requests} requests, not one.",
            where=str(path),
            fix=_FIX,
        )
    return request


def _test_text(bundle: Bundle) -> str:
    slug = re.sub(r"\W+", "_", bundle.checkpoint).strip("_").lower() or "checkpoint"
    says = ascii(f"{bundle.checkpoint} of {bundle.challenger.name} against {bundle.reference.name}")
    return _TEST.format(says=says[1:-1].replace('"', "'"), slug=slug)


_TEST = '''"""Fails until the challenger is mended: {says}.

Run it where the replay ran, so that both stacks can be imported: `pytest test_reproduce.py`.
"""

from __future__ import annotations

from pathlib import Path

from parity.explain.reproduce import check_bundle


def test_{slug}_is_what_the_reference_has() -> None:
    outcome = check_bundle(Path(__file__).parent)

    assert outcome.is_mended, outcome.text
'''
