"""What the documents tell a reader to type exists: every command, option and linked file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from parity.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])  # fmt: skip


def commands() -> Iterator[tuple[str, str]]:
    """Every `parity ...` line of the documents' shell blocks, continued lines joined."""
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("parity "):
                    yield document.name, line.partition("#")[0].strip()


@pytest.mark.parametrize(("document", "line"), list(commands()))
def test_a_documented_command_can_be_typed(document: str, line: str) -> None:
    """Parsed as click would, with every option known; nothing is run."""
    _, *words = shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"{document}: no command is called {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)

    command.make_parser(context).parse_args(args=list(words))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_linked_files_are_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())

    missing = [
        link for link in links if "://" not in link and not (document.parent / link).exists()
    ]

    assert not missing


def test_the_readme_s_commands_are_among_them() -> None:
    lines = [line for document, line in commands() if document == "README.md"]

    assert len(lines) >= 6
