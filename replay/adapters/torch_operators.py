"""Which operators the code of each module runs itself, its submodules' apart: one watched run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from replay.adapters.torch_trace import plain_kernels


def operators_of(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Module path to the names of its own operators ("aten::gelu"), in execution order.

    What a class is called, and what a submodule's `forward` was replaced by, is no matter.
    """
    watch = _Watch()
    with torch.no_grad(), plain_kernels(), ExitStack() as hooks:
        for path, child in module.named_modules():
            for handle in watch.hooks(path, child):
                hooks.callback(handle.remove)
        with watch:
            module(**inputs)
    return watch.found


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes each operator under the module that is running."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.found: dict[str, list[str]] = {}
        self._running: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the signature is torch's
        if self._running:
            self.found.setdefault(self._running[-1], []).append(func._schema.name)  # noqa: SLF001  # an operation's public face is its schema
        return func(*args, **(kwargs or {}))

    def hooks(self, path: str, module: nn.Module) -> tuple[Any, Any]:
        """What notes that a module begins and ends."""

        def begun(*_: Any) -> None:
            self._running.append(path)

        def ended(*_: Any) -> None:
            self._running.pop()

        return module.register_forward_pre_hook(begun), module.register_forward_hook(ended)
