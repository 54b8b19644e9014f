"""One contract, every stack: the same claims over each real stack, and a claim that fails fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replay.conformance import CLAIMS, Claim
from replay.request import RequestBatch
from replay.stack import Stack
from tests.artifacts import write_artifact
from tests.builders import random_batch

# Enough varied requests for every declared edge to be exercised, few enough to stay quick.
REQUESTS, CANDIDATES = 24, 6
STACKS = ("legacy", "cpp", "port", "modern")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("conformance") / "legacy", num_trees=20, depth=5)


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    return random_batch(REQUESTS, CANDIDATES, seed=3)


@pytest.fixture(scope="module", params=STACKS)
def stack(
    request: pytest.FixtureRequest, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Stack:
    folder = tmp_path_factory.mktemp("stacks")
    openers: dict[str, Callable[[Path, Path], Stack]] = {
        "legacy": _open_legacy,
        "cpp": _open_cpp,
        "port": _open_port,
        "modern": _open_modern,
    }
    return openers[request.param](artifact, folder)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_a_stack_keeps_the_contract(claim: Claim, stack: Stack, batch: RequestBatch) -> None:
    assert claim(stack, batch) == []


def _open_legacy(artifact: Path, _: Path) -> Stack:
    pytest.importorskip("tensorflow", reason="the legacy stack needs tensorflow")
    from legacy.stack import open_stack

    return open_stack(artifact)


def _open_cpp(artifact: Path, folder: Path) -> Stack:
    pytest.importorskip("cpp_serving._core", reason="the C++ scorer is not built")
    from cpp_serving.stack import open_stack
    from legacy.export import export

    export(artifact, folder / "scorer.bin")
    return open_stack(folder / "scorer.bin")


def _open_port(artifact: Path, _: Path) -> Stack:
    pytest.importorskip("torch", reason="the port needs torch")
    from modern.port.stack import open_stack

    return open_stack(artifact)


def _open_modern(_: Path, folder: Path) -> Stack:
    pytest.importorskip("torch", reason="the transformer needs torch")
    from modern.transformer.stack import open_stack
    from tests.modern import small_transformer

    return open_stack(small_transformer.write_artifact(folder / "modern"))
