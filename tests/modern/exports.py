"""Real exports of a small artifact, made once a session: tracing takes seconds, compiling more."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from modern.export.folder import Kind, export_artifact
from modern.export.stack import ExportStack, open_stack
from modern.transformer.training_config import ModernConfig
from tests.modern.small_transformer import CONFIG, write_artifact

# One layer of each kind: as much as compiling needs to be shown, in a third of the time.
TINY = replace(
    CONFIG,
    transformer=replace(
        CONFIG.transformer,
        width=4,
        num_layers=1,
        history_layers=1,
        request_layers=1,
        feed_forward=4,
    ),
)


@cache
def artifact_of(config: ModernConfig = CONFIG) -> Path:
    """The artifact that is exported."""
    return write_artifact(Path(mkdtemp(prefix="parity-export-")) / "modern", of=config)


@cache
def export_of(kind: Kind, config: ModernConfig = CONFIG) -> Path:
    """Its export."""
    out = artifact_of(config).parent / kind
    export_artifact(artifact_of(config), kind, out)
    return out


def opened(kind: Kind, config: ModernConfig = CONFIG) -> ExportStack:
    """Its export as a stack."""
    return open_stack(export_of(kind, config), name=kind)
