"""The old segment of users' histories, encoded offline and kept: keyed, checked, memory-mapped."""

# O = old steps of a user, D = model width, M = attention heads, E = width of a head

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from modern.transformer.attention import KeysValues
from modern.transformer.history_encoder import OldState
from modern.transformer.inputs import ModelInputs, rows_of_requests
from replay.digests import digest_of_file
from replay.errors import ArtifactError, ConfigError

FORMAT = "parity.history_store/1"
# Small files, digested as a whole; the values are large, and each user's have a checksum.
INDEX = ("users.npy", "offsets.npy", "histories.npy", "checksums.npy")
VALUES = "values.npy"
Reason = Literal["absent", "other_day", "changed_history", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """What is kept of one user.

    Attributes:
        user: The id, as text.
        history: Digest of the old steps it was computed from (`history_digest`).
        values: [step, value] float32: keys and values of each layer, the encoded step, its weight.
    """

    user: str
    history: str
    values: NDArray[np.float32]


class RefusedEntryError(ArtifactError):
    """An entry that is not the one that is needed: it is never used.

    Attributes:
        reason: Which of the checks it failed.
    """

    def __init__(self, reason: Reason, what: str, *, where: str) -> None:
        super().__init__(what, where=where, fix="precompute again: python -m modern precompute")
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HistoryStore:
    """The entries of one day and one set of weights.

    Attributes:
        folder: Where it lies.
        day: Of the requests it is for: old is what lies `recent_hours` before its midnight.
        user_path: The logged field that holds the user's id.
        users: [entry] ids as text, ascending.
        offsets: [entry + 1]; entry i owns values[offsets[i]:offsets[i + 1]].
        histories: [entry, 32] uint8, SHA-256 of what each was computed from.
        checksums: [entry] CRC-32 of its values.
        values: [step, value] float32, mapped and read on use.
    """

    folder: Path
    day: date
    user_path: str
    users: NDArray[np.str_]
    offsets: NDArray[np.int64]
    histories: NDArray[np.uint8]
    checksums: NDArray[np.uint32]
    values: NDArray[np.float32]

    def entry(self, user: str, *, day: date, history: str) -> Entry:
        """What is kept of a user, once every check has passed.

        Args:
            user: The id, as text.
            day: UTC date of the request.
            history: Digest of the request's old steps.

        Raises:
            RefusedEntryError: There is none, it is of another day or another history, or its values
                are not those that were written.
        """
        where = f"{self.folder}, user {user!r}"
        if day != self.day:
            raise RefusedEntryError(
                "other_day", f"the store is for {self.day}, the request of {day}.", where=where
            )
        place = int(np.searchsorted(self.users, user))
        if place == len(self.users) or self.users[place] != user:
            raise RefusedEntryError("absent", "the store has no entry of the user.", where=where)
        kept = self.histories[place].tobytes().hex()
        if kept != history:
            raise RefusedEntryError(
                "changed_history",
                f"the entry was computed from the old steps {kept[:12]}, the request has "
                f"{history[:12]}.",
                where=where,
            )
        values = np.ascontiguousarray(self.values[self.offsets[place] : self.offsets[place + 1]])
        if zlib.crc32(values.tobytes()) != self.checksums[place]:
            raise RefusedEntryError(
                "damaged", "the entry's values are not those that were written.", where=where
            )
        return Entry(user=user, history=history, values=values)


def write_store(
    folder: Path, entries: Iterable[Entry], *, day: date, user_path: str, weights: str
) -> int:
    """Write the entries of a day; gives their number.

    Args:
        folder: New or empty: a store is never changed.
        entries: No user twice.
        day: Of the requests they are for.
        user_path: The logged field of the user's id.
        weights: Digest of the artifact that computed them (`artifact_key`).

    Raises:
        ConfigError: The folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{str(folder)!r} is not empty.", where="--out", fix="name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sorted(entries, key=lambda entry: entry.user)
    width = chosen[0].values.shape[1] if chosen else 0
    sizes = [len(entry.values) for entry in chosen]
    arrays = {
        "users.npy": np.array([entry.user for entry in chosen], dtype=np.str_),
        "offsets.npy": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        "histories.npy": np.frombuffer(
            bytes.fromhex("".join(entry.history for entry in chosen)), dtype=np.uint8
        ).reshape(-1, 32),
        "checksums.npy": np.array(
            [zlib.crc32(entry.values.tobytes()) for entry in chosen], dtype=np.uint32
        ),
        VALUES: np.concatenate(
            [np.zeros((0, width), np.float32), *(entry.values for entry in chosen)]
        ),
    }
    for name, array in arrays.items():
        np.save(folder / name, array, allow_pickle=False)
    manifest = {
        "format": FORMAT,
        "day": day.isoformat(),
        "user": user_path,
        "weights": weights,
        "entries": len(chosen),
        "steps": int(sum(sizes)),
        "files": {name: digest_of_file(folder / name) for name in INDEX},
    }
    # Last: a folder with a manifest is whole.
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return len(chosen)


def open_store(folder: Path, *, weights: str) -> HistoryStore:
    """Open a store for the artifact of this digest.

    Raises:
        ArtifactError: It is no store, an index file was changed, or other weights computed it.
    """
    manifest = _manifest(folder)
    if manifest["weights"] != weights:
        raise _refused(
            f"the store was computed by the weights {manifest['weights'][:19]}, not by "
            f"{weights[:19]}: its keys and values mean something else",
            folder,
        )
    try:
        index = {name: np.load(folder / name, allow_pickle=False) for name in INDEX}
        values = np.load(folder / VALUES, mmap_mode="r", allow_pickle=False)
        day = date.fromisoformat(manifest["day"])
    except (OSError, ValueError, TypeError) as error:
        raise _refused(f"a part can not be read: {error}", folder) from error
    users, offsets, histories, checksums = (index[name] for name in INDEX)
    if not (
        len(users) == len(offsets) - 1 == len(histories) == len(checksums)
        and offsets[-1] == len(values)
    ):
        raise _refused("its parts do not have the same length", folder)
    return HistoryStore(
        folder=folder,
        day=day,
        user_path=manifest["user"],
        users=users,
        offsets=offsets,
        histories=histories,
        checksums=checksums,
        values=values,
    )


def history_digests(inputs: ModelInputs, requests: Sequence[int]) -> list[str]:
    """SHA-256, in hexadecimal, of all that the encoding of each request's old segment depends on."""
    found = []
    for request in requests:
        rows = old_rows(inputs, request)
        digest = hashlib.sha256()
        for name in ("step_real", "step_codes", "step_age_hours", "step_weight"):
            values = getattr(inputs, name)[rows]
            digest.update(f"{name}{values.shape}{values.dtype}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        found.append(digest.hexdigest())
    return found


def old_rows(inputs: ModelInputs, request: int) -> NDArray[np.int64]:
    """The old steps of a request that are read, by their place."""
    rows = rows_of_requests(inputs.step_offsets, np.array([request]))
    rows = rows[(inputs.step_place[rows] >= 0) & (inputs.step_old[rows] == 1)]
    ordered: NDArray[np.int64] = rows[np.argsort(inputs.step_place[rows], kind="stable")]
    return ordered


def values_of_state(state: OldState) -> NDArray[np.float32]:
    """[step, value] of the one request of a state."""
    parts = [
        part[0].transpose(0, 1).flatten(1)
        for shown in state.layers
        for part in (shown.key_BMLE, shown.value_BMLE)
    ]
    columns = [*parts, state.encoded_BOD[0], state.weight_BO[0].unsqueeze(1)]
    return torch.cat(columns, dim=1).numpy().astype(np.float32)


def state_of_entries(
    entries: Sequence[Entry | None], *, num_layers: int, num_heads: int, width: int
) -> OldState:
    """The padded state of several requests; None stands for one without old steps.

    The counterpart of `values_of_state`.
    """
    most = max((len(e.values) for e in entries if e is not None), default=0)
    grid = np.zeros((len(entries), max(most, 1), (2 * num_layers + 1) * width + 1), np.float32)
    for place, entry in enumerate(entries):
        if entry is not None:
            grid[place, : len(entry.values)] = entry.values
    whole = torch.from_numpy(grid)
    batch, steps = whole.shape[:2]

    def heads(column: int) -> torch.Tensor:
        part = whole[:, :, column * width : (column + 1) * width]
        return part.reshape(batch, steps, num_heads, -1).transpose(1, 2)

    layers = tuple(KeysValues(heads(2 * i), heads(2 * i + 1)) for i in range(num_layers))
    encoded = whole[:, :, 2 * num_layers * width : (2 * num_layers + 1) * width]
    return OldState(layers, encoded, whole[:, :, -1])


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _refused(f"its manifest can not be read: {error}", folder) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _refused(f"it is no store of the format {FORMAT!r}", folder)
    if not all(isinstance(manifest.get(name), str) for name in ("day", "user", "weights")):
        raise _refused("its manifest lacks day, user or weights", folder)
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != set(INDEX):
        raise _refused("its manifest does not list its index", folder)
    for name in INDEX:
        if not (folder / name).exists() or digest_of_file(folder / name) != files[name]:
            raise _refused(f"{name} is missing or was changed", folder)
    return manifest


def _refused(what: str, folder: Path) -> ArtifactError:
    return ArtifactError(
        f"{what}.", where=str(folder), fix="precompute again: python -m modern precompute"
    )
