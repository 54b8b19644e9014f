"""Run the transformer over candidates in chunks, recording and replacing what its modules give."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.tokens import TokenInputs
from modern.transformer import Transformer

# Candidates a forward pass: more of them leave the cache and cost more each. The same chunks
# whatever is recorded, since the last bits of a product may depend on how many rows it has.
CHUNK = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forward:
    """What a pass over all candidates gave.

    Attributes:
        logit: [candidate] float32.
        recorded: Module path to [candidate, ...], what the module produced, in the model's dtype.
    """

    logit: NDArray[np.float32]
    recorded: Mapping[str, NDArray[np.floating]]


def logits_of(model: Transformer, inputs: TokenInputs) -> NDArray[np.float32]:
    """[candidate] logits; memory does not grow with the candidates."""
    return run_forward(model, inputs).logit


def run_forward(
    model: Transformer,
    inputs: TokenInputs,
    *,
    record: Collection[str] = (),
    given: Mapping[str, NDArray[np.floating]] | None = None,
) -> Forward:
    """Run every candidate; what is not recorded is kept for one chunk only.

    Args:
        model: In evaluation mode.
        inputs: Of all candidates.
        record: Module paths whose outputs are kept.
        given: Module path to [candidate, ...] values the module's output is replaced by, after
            it was recorded.
    """
    given = given or {}
    logit = np.empty(len(inputs), dtype=np.float32)
    recorded: dict[str, list[NDArray[np.floating]]] = {path: [] for path in record}
    rows = slice(0, 0)

    def replaced(path: str, output: Tensor) -> Tensor:
        if path in recorded:
            recorded[path].append(output.numpy().copy())
        # A copy: what was given may be read-only, and is never written to.
        return torch.from_numpy(given[path][rows].copy()).to(output) if path in given else output

    with torch.inference_mode(), _watched(model, {*record, *given}, replaced):
        # One chunk even of no candidates, so that what is recorded has its shape.
        for start in range(0, max(len(inputs), 1), CHUNK):
            rows = slice(start, min(start + CHUNK, len(inputs)))
            real_CR = torch.from_numpy(inputs.real[rows])
            code_CN = torch.from_numpy(inputs.codes[rows])
            logit[rows] = model(real_CR, code_CN).numpy()
    whole = {path: np.concatenate(chunks) for path, chunks in recorded.items()}
    return Forward(logit=logit, recorded=whole)


@contextmanager
def _watched(
    model: nn.Module, paths: Collection[str], replaced: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """While inside, the outputs of these modules pass through `replaced`."""
    with ExitStack() as hooks:
        for path in paths:

            def hook(_: nn.Module, __: Any, output: Tensor, path: str = path) -> Tensor:
                return replaced(path, output)

            handle = model.get_submodule(path).register_forward_hook(hook)
            hooks.callback(handle.remove)
        yield
