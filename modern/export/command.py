"""`python -m modern export`: the model as a program of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to a command line."""
    export = commands.add_parser("export", help="the model as a program of its own, with bounds")
    export.set_defaults(run=_export)
    export.add_argument("--artifact", type=Path, default=Path("artifacts/modern"))
    export.add_argument(
        "--format", choices=("torch", "aoti", "onnx"), required=True, help="kind of program"
    )
    export.add_argument("--out", type=Path, required=True, help="the export's folder")
    export.add_argument(
        "--max-candidates", type=int, default=512, help="of one call; more are called in parts"
    )


def _export(options: argparse.Namespace) -> int:
    from modern.export.bounds import bounds_of
    from modern.export.folder import export_artifact  # torch comes with it
    from modern.transformer.artifact import load_artifact

    bounds = bounds_of(load_artifact(options.artifact), candidates=options.max_candidates)
    export_artifact(options.artifact, options.format, options.out, bounds=bounds)
    sys.stdout.write(
        f"{options.out} holds the {options.format} program: at most {bounds.candidates} candidates "
        f"and {bounds.steps} steps in a call\n"
    )
    return 0
