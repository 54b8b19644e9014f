"""A user's own PyTorch module as a stack: `open: replay.adapters.torch_module:open_stack`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from replay.adapters.imported import imported, made
from replay.adapters.model_options import ModelOptions, options_of
from replay.adapters.model_stack import Features, ModelStack, assembled
from replay.adapters.outputs import choose_outputs
from replay.adapters.rounding import measure_rounding
from replay.adapters.torch_gradients import TorchStack
from replay.adapters.torch_program import TorchProgram
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError, ToolkitError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import Array


def open_stack(
    artifact: Path | None = None,
    *,
    module: str,
    name: str = "torch",
    device: str = "cpu",
    threads: int = 1,
    **options: Any,
) -> ModelStack:
    """Build the user's module and make every submodule's output a checkpoint.

    Args:
        artifact: What the factory loads; None calls the factory without an argument.
        module: "package.module:factory", which returns an `nn.Module`. It loads safetensors, or
            pickled weights with `torch.load(..., weights_only=True)`.
        name: What reports call the stack.
        device: Where it runs.
        threads: torch's own threads; last bits may depend on them.
        options: `inputs`, `example` and more: `replay.adapters.model_options.ModelOptions`. What
            the module returns is "return", "return.0" or "return.click".

    Raises:
        ConfigError: An option does not fit the module.
        ArtifactError: The factory could not load the artifact.
        StackError: The inputs function gave no usable arrays, or the module refused them.
    """
    torch.set_num_threads(threads)
    factory, chosen = (
        imported(module, option="module"),
        options_of(ModelOptions, options, stack=name),
    )
    path = None if artifact is None else Path(artifact)
    fed = chosen.fed(path)
    built = _built(factory, path, where=module)
    return stack_from_module(
        built,
        features=fed.features,
        example=fed.example,
        logit=chosen.logit,
        pctr=chosen.pctr,
        money=chosen.money,
        name=name,
        device=device,
        digest=_digest(built, path),
        code=chosen.code(fed, factory, module),
    )


def stack_from_module(
    module: nn.Module,
    *,
    features: Features,
    example: RequestBatch,
    logit: str | None = None,
    pctr: str | None = None,
    money: str | None = None,
    name: str = "torch",
    device: str = "cpu",
    digest: str | None = None,
    code: str = "",
) -> ModelStack:
    """A module that is built already, as a stack; see `open_stack`."""
    fed = features.inputs(features.produced(example), example.keys)
    program = _traced(module, fed, device)
    outputs = choose_outputs(
        program.tensors, logit=logit, pctr=pctr, money=money, rows=features.rows
    )
    packages = ("torch", "numpy", "pyarrow")
    who = StackIdentity(
        name=name,
        digest=digest or _digest(module, None),
        code=code,
        versions={package: version(package) for package in packages},
        device=device,
        threads=recorded_threads() | {"torch": str(torch.get_num_threads())},
    )
    return assembled(
        name=name,
        program=program,
        features=features,
        outputs=outputs,
        example=example,
        who=who,
        rounding=measure_rounding(program, fed),
        kind=TorchStack,
    )


def _built(factory: Callable[..., Any], artifact: Path | None, *, where: str) -> nn.Module:
    module = made(factory, artifact, what="module", where=where)
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"{where} returned a {type(module).__name__}.",
            where="the option 'module' of a stack",
            fix="return a torch.nn.Module",
        )
    return module


def _traced(module: nn.Module, fed: Mapping[str, Array], device: str) -> TorchProgram:
    try:
        return TorchProgram(module, fed, device=device)
    except ToolkitError:
        raise
    except Exception as error:
        shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in fed.items()}
        raise ConfigError(
            f"the module refused the example's inputs: {type(error).__name__}: {error}.",
            where=f"{type(module).__name__}.forward, fed {shapes}",
            fix="let the inputs function return one array per argument of forward, by its name and in its "
            "dtype: real values computed in float64 are rounded once, .astype(np.float32)",
        ) from error


def _digest(module: nn.Module, artifact: Path | None) -> str:
    if artifact is not None:
        return digest_of_path(artifact)
    weights = {
        name: [str(tensor.dtype), list(tensor.shape), _bytes_digest(tensor)]
        for name, tensor in module.state_dict().items()
    }
    return digest_of_json(weights)


def _bytes_digest(tensor: torch.Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(np.asarray(raw).tobytes()).hexdigest()
