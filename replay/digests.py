"""Digests of artifacts, logs and code: the same bytes in the same places, the same digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any


def digest_of_file(path: Path) -> str:
    """A file's digest, as `sha256:` and 64 hexadecimal digits."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_of_path(path: Path) -> str:
    """The digest of a file, or of a folder's files with their relative names."""
    if path.is_file():
        return digest_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return digest_of_json({p.relative_to(path).as_posix(): digest_of_file(p) for p in files})


def digest_of_json(value: Any) -> str:
    """The digest of a plain JSON value, whatever order its keys were put in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_of_code(package: ModuleType) -> str:
    """The digest of a package's own source and compiled files."""
    root = Path(str(package.__file__)).parent
    files = sorted(p for p in root.rglob("*") if p.suffix in {".py", ".so"})
    return digest_of_json({p.relative_to(root).as_posix(): digest_of_file(p) for p in files})
