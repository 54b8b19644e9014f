from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parity.cli.reproduce import reproduce
from parity.compare.alignment import align
from parity.explain.probe import probe
from parity.explain.reproduce_trials import Sides
from parity.explain.reproduce_write import write_bundles
from parity.plan import Plan
from replay.errors import ConfigError, ToolkitError
from replay.registry import StackSpec, open_stack
from tests.toys import ToyStack, toy_batch

REFERENCE = StackSpec(name="ours", opener="tests.toys:open_stack")
CHALLENGER = StackSpec(
    name="theirs", opener="tests.toys:open_stack", options={"scale": {"features.price": 1.5}}
)


class Broken(ToyStack):
    """Opens, and fails on every request."""

    def score(self, batch, *, capture, given=None):
        raise RuntimeError("no such column")


def open_broken(artifact: Path | None = None, **options: Any) -> ToyStack:
    return Broken("broken")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sides = Sides(
        reference=open_stack(REFERENCE),
        challenger=open_stack(CHALLENGER),
        reference_spec=REFERENCE,
        challenger_spec=CHALLENGER,
    )
    alignment = align(sides.reference.checkpoints, sides.challenger.checkpoints, Plan())
    found = probe(sides.reference, sides.challenger, toy_batch(8), alignment)
    (one,) = write_bundles(tmp_path_factory.mktemp("run"), found, sides, Plan())
    assert one.path is not None
    return one.path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(reproduce, [str(one) for one in arguments], standalone_mode=False)


def test_a_cause_that_is_there_exits_1_with_both_values(bundle: Path) -> None:
    result = run(bundle)

    values = json.loads((bundle / "bundle.json").read_text())["values"]
    assert result.return_value == 1
    assert result.stdout.startswith("STILL FAILING  features.price")
    assert f"reference {values['reference']!r}, challenger {values['challenger']!r}" in (
        result.stdout
    )


def test_a_mended_challenger_exits_0(bundle: Path) -> None:
    result = run(bundle, "--challenger", "tests.toys:open_stack")

    assert result.return_value == 0
    assert result.stdout.startswith("MENDED  features.price")


def test_a_configured_stack_may_take_a_side(bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "parity.yaml"
    config.write_text(
        "stacks:\n  mended: {open: 'tests.toys:open_stack'}\n"
        "  other: {open: 'tests.toys:open_stack', options: {scale: {logit: 2.0}}}\n"
    )

    mended = run(bundle, "--challenger", "mended", "--config", config)
    other = run(bundle, "--reference", "other", "--config", config)

    assert mended.return_value == 0
    assert other.return_value == 3
    assert other.stdout.startswith("CAN NOT TELL")


def test_json_is_for_programs(bundle: Path) -> None:
    result = run(bundle, "--format", "json")

    content = json.loads(result.stdout)
    assert (content["status"], content["exit_code"], result.return_value) == ("failing", 1, 1)


def test_a_stack_that_fails_on_the_request_exits_4(bundle: Path) -> None:
    result = run(bundle, "--challenger", "tests.parity.cli.test_reproduce:open_broken")

    assert result.return_value == 4
    assert "no such column" in result.stderr


@pytest.mark.parametrize("name", ["tests.toys:no_such_opener", "no_such_stack"])
def test_a_stack_that_can_not_be_opened_is_wrong_use(bundle: Path, name: str) -> None:
    result = run(bundle, "--challenger", name)

    assert isinstance(result.exception, ToolkitError)  # exit 2, by `main`
    assert name.rpartition(":")[2] in str(result.exception)


def test_no_bundle_is_wrong_use(tmp_path: Path) -> None:
    result = run(tmp_path / "causes" / "1")

    assert isinstance(result.exception, ConfigError)  # exit 2, by `main`
    assert "there is no bundle" in result.exception.what
