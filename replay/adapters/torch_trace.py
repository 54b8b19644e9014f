"""Which modules give tensors, in which order, computed from which others: one watched run.

Every operation passes on where its arguments come from, so one run gives the whole graph,
whatever Python the model's `forward` is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from replay.adapters.torch_terms import terms_of

# What these give holds none of their argument's values, only its shape.
_VALUE_FREE = frozenset(
    {
        f"aten::{name}"
        for name in (
            "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like",
            "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "sym_size",
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A tensor that one call of a module gave.

    Attributes:
        path: The module's path; "" for what the model returns.
        call: Which call of that module, from 0.
        leaf: Place among what the call gave.
        label: Where the leaf stands in what was given, such as "0" or "logits"; "" for all of it.
        shape: As given, rows wherever they are.
        dtype: torch's.
        origins: Labels of sites ("path:call:leaf") and of inputs ("input NAME") that it is
            computed from with none between.
        terms: Values added up in one sum on the way from these.
    """

    path: str
    call: int
    leaf: int
    label: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    origins: frozenset[str]
    terms: int

    @property
    def key(self) -> str:
        """Names the site among all sites."""
        return site_key(self.path, self.call, self.leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchTrace:
    """What a run showed: its sites in execution order, and modules that gave none."""

    sites: tuple[Site, ...]
    silent: Mapping[str, str]


def site_key(path: str, call: int, leaf: int) -> str:
    """The key of a site: a path has no colon."""
    return f"{path}:{call}:{leaf}"


def trace_module(module: nn.Module, inputs: Mapping[str, Tensor]) -> TorchTrace:
    """Run the module once and follow every tensor through it."""
    watch = _Watch()
    labelled = {name: watch.labelled(tensor, f"input {name}") for name, tensor in inputs.items()}
    with torch.no_grad(), plain_kernels(), watch.modules(module), watch:
        returned = module(**labelled)
        watch.returned(returned)
    return TorchTrace(sites=tuple(watch.sites), silent=watch.silent)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without the fused encoder layer, which passes its own submodules by."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def leaves_of(value: Any) -> list[tuple[str, Any]]:
    """What a module gave, as label and leaf: "" for a single tensor, else "0", "logits", ..."""
    found, _ = pytree.tree_flatten_with_path(value)
    return [(".".join(_key_text(entry) for entry in path), leaf) for path, leaf in found]


@dataclass(eq=False)
class _Origins:
    """Where the values in each storage come from; views share theirs with what they view."""

    by_storage: dict[int, tuple[frozenset[str], int]] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)  # so that no storage's address is used again

    def of(self, tensor: Tensor) -> tuple[frozenset[str], int]:
        """Where the tensor comes from, and how many values were added up since."""
        return self.by_storage.get(_storage(tensor), (frozenset(), 1))

    def add(self, tensor: Tensor, origins: frozenset[str], terms: int) -> None:
        before, most = self.of(tensor)
        self.put(tensor, before | origins, max(most, terms))

    def put(self, tensor: Tensor, origins: frozenset[str], terms: int) -> None:
        self.kept.append(tensor)
        self.by_storage[_storage(tensor)] = origins, terms


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Passes origins on through every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.origins = _Origins()
        self.sites: list[Site] = []
        self.silent: dict[str, str] = {}
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the signature is torch's
        kwargs = kwargs or {}
        given = func(*args, **kwargs)
        name, schema = func._schema.name, func._schema  # noqa: SLF001  # an operation's public face is its schema
        arguments = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        results = [t for t in pytree.tree_leaves(given) if isinstance(t, Tensor)]
        origins: frozenset[str] = frozenset()
        terms = 1
        if name not in _VALUE_FREE:
            known = [self.origins.of(tensor) for tensor in arguments]
            origins = origins.union(*(one for one, _ in known))
            terms = terms_of(name, [tuple(t.shape) for t in arguments], _numel(results))
            terms = max([terms, *(most for _, most in known)])
        if schema.is_mutable:
            for value, declared in zip(args, schema.arguments, strict=False):
                if declared.alias_info is not None and declared.alias_info.is_write:
                    results += [t for t in pytree.tree_leaves(value) if isinstance(t, Tensor)]
        for tensor in results:
            self.origins.add(tensor, origins, terms)
        return given

    def labelled(self, tensor: Tensor, label: str) -> Tensor:
        """The tensor in a storage of its own, known to come from `label` alone."""
        fresh = torch.empty_like(tensor).copy_(tensor)
        self.origins.put(fresh, frozenset({label}), 1)
        return fresh

    @contextmanager
    def modules(self, module: nn.Module) -> Iterator[None]:
        """While inside, every submodule's outputs become sites."""
        handles = []
        for path, child in module.named_modules():
            if path:
                entered, left = self._hooks(path)
                handles.append(child.register_forward_pre_hook(entered, with_kwargs=True))
                handles.append(child.register_forward_hook(left))
        self.silent |= {path: "it is never called" for path, _ in module.named_modules() if path}
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def returned(self, value: Any) -> None:
        """What the model returns becomes sites, too."""
        for leaf, (label, tensor) in enumerate(leaves_of(value)):
            if isinstance(tensor, Tensor):
                self._add("", 0, leaf, label, tensor)

    def _hooks(self, path: str) -> tuple[Any, Any]:
        """What runs before and after each call of a module."""
        arguments: dict[int, int] = {}

        def entered(_: nn.Module, args: Any, kwargs: Any) -> None:
            leaves = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
            arguments.clear()
            arguments.update({id(one): one._version for one in leaves})  # noqa: SLF001  # counts writes in place

        def left(_: nn.Module, __: Any, output: Any) -> Any:
            call = self.calls.get(path, 0)
            self.calls[path] = call + 1
            self.silent.pop(path, None)
            leaves, spec = pytree.tree_flatten(output)
            labels = [label for label, _ in leaves_of(output)]
            if not any(isinstance(one, Tensor) for one in leaves):
                self.silent[path] = "it gives no tensor"
            for place, tensor in enumerate(leaves):
                if not isinstance(tensor, Tensor):
                    continue
                if arguments.get(id(tensor)) == tensor._version:  # noqa: SLF001  # as above
                    self.silent[path] = "it passes on what it is given"
                    continue
                self._add(path, call, place, labels[place], tensor)
                leaves[place] = self.labelled(tensor, site_key(path, call, place))
            return pytree.tree_unflatten(leaves, spec)

        return entered, left

    def _add(self, path: str, call: int, leaf: int, label: str, tensor: Tensor) -> None:
        origins, terms = self.origins.of(tensor)
        site = Site(
            path=path,
            call=call,
            leaf=leaf,
            label=label,
            shape=tuple(tensor.shape),
            dtype=tensor.dtype,
            origins=origins,
            terms=terms,
        )
        self.sites.append(site)


def _key_text(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  # the storage's only identity


def _numel(tensors: list[Tensor]) -> int:
    return tensors[0].numel() if tensors else 0
