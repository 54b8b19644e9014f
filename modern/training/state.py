"""Where a training stands, on disk: a killed one goes on from there, to the same last bytes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """The file of one training; what another training left there does not count.

    Attributes:
        path: Beside the artifact's folder, gone when the artifact stands.
        training_id: Decides whose state it is.
        every_s: Seconds from one time it is kept to the next: often enough that a kill costs
            little, seldom enough that writing costs less than a percent.
    """

    path: Path
    training_id: str
    every_s: float = 30.0

    def save(self, state: Mapping[str, Any]) -> None:
        """Write it whole or not at all, through to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_name(self.path.name + ".new")
        with scratch.open("wb") as file:
            torch.save({"training_id": self.training_id, "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)

    def load(self) -> Mapping[str, Any] | None:
        """What `save` wrote last; None where there is none, or of another training.

        Only tensors and plain values are read: a file made by someone else runs no code.
        """
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if found["training_id"] != self.training_id:
                return None
            state: Mapping[str, Any] = found["state"]
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError):
            return None
        return state

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)


def state_file_of(out: Path, training_id: str) -> StateFile:
    """Of the training that writes the artifact `out`: a hidden file beside it."""
    return StateFile(path=out.with_name(f".{out.name}.training"), training_id=training_id)
