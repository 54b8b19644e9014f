"""Versions of what computes, read without importing it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def installed_versions() -> dict[str, str]:
    """Package to version, of Python and the libraries that this stack computes with."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "pyarrow", "xgboost", "tensorflow"):
        for distribution in (package, f"{package}-cpu"):
            try:
                found[package] = version(distribution)
            except PackageNotFoundError:
                continue
    return found
