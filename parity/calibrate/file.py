"""Measured tolerances as a file beside parity.yaml; the plan holds its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.calibrate.calibration import Calibration
from parity.noise import Sampled, sampled_from_json, sampled_json
from replay.digests import digest_of_path
from replay.engine.durable import write_durably
from replay.errors import ConfigError
from replay.stack import StackIdentity

SCHEMA = "parity.calibration/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a plan reads back.

    Attributes:
        tolerances: Reference name to tolerance.
        reference: Digest of the reference's artifact that it was measured on.
    """

    tolerances: Mapping[str, Sampled]
    reference: str


def write_calibration(
    path: Path, found: Calibration, *, reference: StackIdentity, challenger: StackIdentity
) -> str:
    """Write the file, whole or not at all.

    Returns:
        Its digest.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_content(found, reference, challenger), indent=1)
    write_durably(path, [(text + "\n").encode()])
    return digest_of_path(path)


def read_calibration(path: Path, digest: str) -> Measured:
    """Read what `write_calibration` wrote.

    Raises:
        ConfigError: It is not there, was changed since, or is another file.
    """
    fix = "measure again: parity calibrate --reference ... --challenger ..."
    if not path.is_file():
        raise ConfigError("the plan's calibration is not there.", where=str(path), fix=fix)
    found = digest_of_path(path)
    if found != digest:
        raise ConfigError(
            f"the calibration is {found}, the plan was written with {digest}.",
            where=str(path),
            fix=f"{fix}; a tolerance of your own stands in the plan's tolerances, with its why",
        )
    try:
        return _measured(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the file is no calibration: {error}.", where=str(path), fix=fix
        ) from error


def _measured(value: Mapping[str, Any]) -> Measured:
    if value["schema"] != SCHEMA:
        raise ValueError(f"the schema is {value['schema']!r}, this version reads {SCHEMA!r}")
    return Measured(
        tolerances={name: sampled_from_json(one) for name, one in value["tolerances"].items()},
        reference=value["reference"]["digest"],
    )


def _content(
    found: Calibration, reference: StackIdentity, challenger: StackIdentity
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "precision": found.precision,
        "requests": found.requests,
        "candidates": found.candidates,
        "reference": {"name": reference.name, "digest": reference.digest},
        "challenger": {"name": challenger.name, "digest": challenger.digest},
        "floors": {
            change: {"checkpoint": name, "units_of_noise": units}
            for change, (name, units) in found.floors.items()
        },
        "notes": list(found.notes),
        "tolerances": {name: sampled_json(entry) for name, entry in found.tolerances.items()},
    }
