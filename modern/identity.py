"""What ran, for every stack of this package: the same code, packages and threads."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version

import torch

import modern
from replay.digests import digest_of_code
from replay.stack import StackIdentity
from replay.threads import recorded_threads


def torch_identity(
    *,
    name: str,
    digest: str,
    training_id: str | None,
    packages: Collection[str] = ("torch", "numpy", "pyarrow", "safetensors"),
) -> StackIdentity:
    """The identity of a stack of ours on the CPU.

    Args:
        name: What reports call the stack.
        digest: Of its artifact, and of what was changed in it.
        training_id: Of the training that made the artifact.
        packages: What computes, besides this project's code.
    """
    return StackIdentity(
        name=name,
        digest=digest,
        training_id=training_id,
        code=digest_of_code(modern),
        versions={package: version(package) for package in packages},
        threads=recorded_threads() | {"torch": str(torch.get_num_threads())},
    )
