"""The transformer as a `torch.export` program: one flat graph, its modules still there to look into."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from modern.export.bounds import Bounds, dynamic_shapes, example
from modern.export.run import Ran
from modern.transformer.artifact import TransformerArtifact
from replay.layer_functions import settings_of_operators

# The place of epsilon among layer_norm(input, normalized_shape, weight, bias, eps, cudnn_enable).
_EPS = 4


def exported_program(artifact: TransformerArtifact, bounds: Bounds) -> ExportedProgram:
    """Trace the whole forward pass, requests, steps and candidates free within the bounds."""
    with quiet():
        return torch.export.export(
            artifact.model,
            example(artifact, bounds),
            dynamic_shapes=dynamic_shapes(bounds),
            strict=False,  # nothing in it depends on Python's state, and strict tracing is slower
        )


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write the graph with its weights.

    Weights without elements (of steps that have no real feature, say) are put into no storage: one
    read from a file has a storage with an address, and is taken for a slice that ends before it.
    """
    for name, weight in program.state_dict.items():
        if weight.numel() == 0:
            empty = torch.empty(weight.shape, dtype=weight.dtype)
            is_trained = isinstance(weight, nn.Parameter)
            program.state_dict[name] = nn.Parameter(empty) if is_trained else empty
    with quiet():
        torch.export.save(program, path)


def load_program(path: Path) -> ExportedProgram:
    """Read what `save_program` wrote; its digest was checked before."""
    with quiet():
        return torch.export.load(path)


class ExportedGraph:
    """The graph, run as it stands: every call of a module is a place to record and to give."""

    def __init__(self, program: ExportedProgram) -> None:
        with quiet():
            self.module: nn.Module = torch.export.unflatten(program)

    def run(
        self, arguments: tuple[Tensor, ...], *, record: Sequence[str], given: Mapping[str, Tensor]
    ) -> Ran:
        """As `modern.export.run.Program`."""
        recorded: dict[str, Tensor] = {}

        def hook(path: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
            def passed(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
                if path in record:
                    recorded[path] = output
                return given[path].to(output) if path in given else None

            return passed

        with torch.inference_mode(), ExitStack() as hooks:
            for path in dict.fromkeys((*record, *given)):
                handle = self.module.get_submodule(path).register_forward_hook(hook(path))
                hooks.callback(handle.remove)
            logits: Tensor = self.module(*arguments)
        return Ran(logits=logits, recorded=recorded)

    def weights(self) -> dict[str, NDArray[Any]]:
        """As `modern.export.run.Program`; a module that is called twice holds them once."""
        return {
            name: tensor.detach().numpy()
            for name, tensor in self.module.state_dict().items()
            if "@" not in name
        }

    def configuration(self) -> dict[str, str]:
        """As `modern.export.run.Program`."""
        found: dict[str, str] = {}
        for path, module in self.module.named_modules():
            graph = getattr(module, "graph", None)
            nodes = () if graph is None else graph.nodes
            operators = [node.target.name() for node in nodes if _is_operator(node.target)]
            for name, word in settings_of_operators(operators).items():
                found[f"{path}.{name}"] = word
            for node in nodes:
                if node.target is torch.ops.aten.layer_norm.default:
                    found[f"{path}.eps"] = str(node.args[_EPS])
                elif node.target is torch.ops.aten.gelu.default:
                    found[f"{path}.approximate"] = str(node.kwargs.get("approximate", "none"))
        return found


def _is_operator(target: object) -> bool:
    return isinstance(target, torch._ops.OpOverload)  # noqa: SLF001  # the class has no public name


@contextmanager
def quiet() -> Iterator[None]:
    """While inside, torch 2.13's own use of what it deprecates, not the caller's to mend, is silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
