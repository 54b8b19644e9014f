"""A PyTorch module as a program: forward hooks record what submodules give, and replace it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from replay.adapters.program import Tensor, checkpoint_name, row_axis
from replay.adapters.torch_faults import torch_faults, with_torch_fault
from replay.adapters.torch_operators import operators_of
from replay.adapters.torch_trace import (
    Site,
    TorchTrace,
    leaves_of,
    plain_kernels,
    site_key,
    trace_module,
)
from replay.capabilities import Fault
from replay.errors import StackError
from replay.layer_functions import settings_of_operators
from replay.trace import EMPTY, Array

# Two numbers of rows: an axis that follows both holds the rows. Small, since it is shapes that
# are looked at; unlike the usual sizes of layers, and unequal.
TRACED_ROWS = (7, 5)
_RECORDED_AS = {
    torch.float16: "float16",
    torch.bfloat16: "float32",  # numpy has no bfloat16; float32 holds every one of its values
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bool: "bool",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a checkpoint's tensor is found: the site, and the axis of its rows."""

    name: str
    site: Site
    axis: int


class TorchProgram:
    """A module in evaluation mode, traced once; see `replay.adapters.program.Program`.

    Args:
        module: Any module whose forward takes the inputs by name.
        inputs: Some rows of every input, to trace it with.
        device: Where it runs.
    """

    def __init__(
        self, module: nn.Module, inputs: Mapping[str, Array], *, device: str = "cpu"
    ) -> None:
        self.module = module.eval().to(device)
        self.device = device
        self._is_wide = False
        self._threads: int | None = None
        rows = len(next(iter(inputs.values())))
        sizes = tuple(min(rows, size) for size in TRACED_ROWS)
        sizes = sizes if sizes[0] != sizes[1] else (sizes[0], sizes[0] - 1)
        few = [{name: array[:size] for name, array in inputs.items()} for size in sizes]
        self._example = few[0]
        self._places, self.tensors, self.skipped = _read([self._traced(one) for one in few], sizes)
        self._by_path: dict[str, dict[str, _Place]] = {}
        for place in self._places.values():
            self._by_path.setdefault(place.site.path, {})[place.site.key] = place

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """Run all rows once, recording and replacing what the named sites give.

        Raises:
            StackError: A site that was there in the example was not reached.
        """
        touched = {*record, *given, *noise}
        produced: dict[str, Array] = {}

        def changed(place: _Place, tensor: torch.Tensor) -> torch.Tensor:
            name = place.name
            if name in record:
                produced[name] = _recorded(tensor, place)
            if name in given:
                # As it was laid out: the last bits of what reads it may depend on that.
                return torch.empty_like(tensor).copy_(_placed(given[name], place))
            if name in noise:
                return tensor + _placed(noise[name], place).to(tensor)
            return tensor

        with torch.no_grad(), self._as_set(), self._hooks(touched, changed):
            returned = self.module(**self._tensors(inputs))
        for leaf, (_, tensor) in enumerate(leaves_of(returned)):
            at = self._by_path.get("", {}).get(site_key("", 0, leaf))
            if at is not None and at.name in record:
                produced[at.name] = _recorded(tensor, at)
        missing = [name for name in record if name not in produced]
        if missing:
            raise StackError(
                f"{missing[0]!r} gave nothing for this batch, though it did for the example.",
                where=f"{len(missing)} of {len(record)} recorded tensors",
                fix="call the same modules for every batch, or take an example that shows both ways",
            )
        return produced

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the model returns without a hook, by whatever kernels it takes then."""
        with torch.no_grad():
            leaves = leaves_of(self.module(**self._tensors(inputs)))
        return {
            place.name: _recorded(leaves[place.site.leaf][1], place)
            for place in self._by_path.get("", {}).values()
        }

    def in_float64(self) -> TorchProgram:
        """The same module, its weights, inputs and whatever it makes itself in float64."""
        return self._twin(module=copy.deepcopy(self.module).double(), _is_wide=True)

    def with_threads(self, threads: int) -> TorchProgram:
        """The same module on another number of torch's own threads."""
        return self._twin(_threads=threads)

    def gradients(
        self, inputs: Mapping[str, Array], *, record: Collection[str], of: str, weights: Array
    ) -> dict[str, Array]:
        """The derivative of sum(weights * tensor) by what is recorded, and by inputs as "input NAME".

        Args:
            inputs: As for `run`.
            record: Tensors to differentiate with respect to.
            of: The tensor that is differentiated.
            weights: Of its shape, rows first.
        """
        reached: dict[str, torch.Tensor] = {}

        def watched(place: _Place, tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_floating_point():
                return tensor
            held = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            reached[place.name] = held
            return held.clone()  # what reads it may write to it

        fed = self._tensors(inputs)
        fed = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in fed.items()}
        with torch.enable_grad(), self._as_set(), self._hooks({*record, of}, watched):
            returned = leaves_of(self.module(**fed))
        at = self._places[of]
        target = returned[at.site.leaf][1] if not at.site.path else reached[of]
        pulled = _placed(weights, at).to(target)
        wanted = {name: reached[name] for name in record if name in reached}
        wanted |= {f"input {name}": t for name, t in fed.items() if t.is_floating_point()}
        found = torch.autograd.grad(
            (target * pulled).sum(), list(wanted.values()), allow_unused=True
        )
        return {
            name: one.movedim(self._places[name].axis, 0).cpu().numpy()
            if name in self._places
            else one.cpu().numpy()
            for name, one in zip(wanted, found, strict=True)
            if one is not None
        }

    def faults(self) -> tuple[Fault, ...]:
        """The real faults that its modules have room for."""
        return torch_faults(self.module, self._planted_at())

    def planted(self, fault: Fault) -> TorchProgram:
        """A program of a copy of the module, with the fault in it."""
        path = next(p for p, name in self._planted_at().items() if name == fault.checkpoint)
        return self._twin(module=with_torch_fault(self.module, path, fault))

    def _planted_at(self) -> dict[str, str]:
        """Module path to its checkpoint, of modules that are called once and give one tensor."""
        return {
            path: next(iter(places.values())).name
            for path, places in self._by_path.items()
            if path and len(places) == 1
        }

    def weights(self) -> dict[str, Array]:
        """Parameters and buffers, as `state_dict` names them."""
        return {
            name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
            for name, tensor in self.module.state_dict().items()
        }

    def configuration(self) -> dict[str, str]:
        """Each module's class, its own plain attributes (eps, approximate, padding_idx), and which
        activation and norm its operators compute.
        """
        found: dict[str, str] = {}
        for path, module in self.module.named_modules():
            found[f"{path}.class".lstrip(".")] = type(module).__name__
            found |= {
                f"{path}.{name}".lstrip("."): str(value)
                for name, value in vars(module).items()
                if not name.startswith("_") and name != "training" and _is_plain(value)
            }
        for path, operators in operators_of(self.module, self._tensors(self._example)).items():
            for name, word in settings_of_operators(operators).items():
                found.setdefault(f"{path}.{name}".lstrip("."), word)
        return found

    def _twin(self, **changed: object) -> TorchProgram:
        twin = copy.copy(self)
        vars(twin).update(changed)
        return twin

    def _traced(self, inputs: Mapping[str, Array]) -> TorchTrace:
        return trace_module(self.module, self._tensors(inputs))

    def _tensors(self, inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        # A copy: an array may be read-only, and a model may write to its arguments.
        tensors = {n: torch.from_numpy(np.array(array)) for n, array in inputs.items()}
        if self._is_wide:
            tensors = {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    @contextmanager
    def _as_set(self) -> Iterator[None]:
        """With the kernels, the threads and the precision that this program runs with."""
        threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
        torch.set_num_threads(threads if self._threads is None else self._threads)
        if self._is_wide:
            torch.set_default_dtype(torch.float64)
        try:
            with plain_kernels():
                yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)

    @contextmanager
    def _hooks(self, names: Collection[str], changed: Any) -> Iterator[None]:
        paths = {
            path
            for path, places in self._by_path.items()
            if path and any(place.name in names for place in places.values())
        }
        with ExitStack() as hooks:
            for path in paths:
                hook = _hook(path, self._by_path[path], changed)
                handle = self.module.get_submodule(path).register_forward_hook(hook)
                hooks.callback(handle.remove)
            yield


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str)


def _hook(path: str, places: Mapping[str, _Place], changed: Any) -> Any:
    calls = 0

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal calls
        leaves, spec = pytree.tree_flatten(output)
        replaced = False
        for leaf, tensor in enumerate(leaves):
            place = places.get(site_key(path, calls, leaf))
            if place is not None and isinstance(tensor, torch.Tensor):
                leaves[leaf] = changed(place, tensor)
                replaced |= leaves[leaf] is not tensor
        calls += 1
        return pytree.tree_unflatten(leaves, spec) if replaced else output

    return hook


def _recorded(tensor: torch.Tensor, place: _Place) -> Array:
    plain = tensor.detach().movedim(place.axis, 0).to("cpu")
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    return np.array(plain.numpy(), order="C", copy=True)


def _placed(values: Array, place: _Place) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).movedim(0, place.axis)


def _read(
    traces: list[TorchTrace], rows: tuple[int, ...]
) -> tuple[dict[str, _Place], tuple[Tensor, ...], dict[str, str]]:
    """Which sites are checkpoints, by what, and what they are computed from."""
    skipped = {checkpoint_name(path): reason for path, reason in traces[0].silent.items()}
    shapes = [{site.key: site.shape for site in trace.sites} for trace in traces]
    axes: dict[str, int] = {}
    for site in traces[0].sites:
        if site.dtype not in _RECORDED_AS:
            found: int | str = f"its dtype is {site.dtype}"
        elif any(site.key not in known for known in shapes):
            found = "only some batches reach it"
        else:
            found = row_axis([known[site.key] for known in shapes], rows)
        if isinstance(found, int):
            axes[site.key] = found
        else:
            skipped[_name(site, alone=False)] = found
    kept = [site for site in traces[0].sites if site.key in axes]
    origins = _resolved(traces[0].sites, axes)
    calls: dict[tuple[str, int], int] = {}
    for site in kept:
        calls[site.path, site.call] = calls.get((site.path, site.call), 0) + 1
    names = {site.key: _name(site, alone=calls[site.path, site.call] == 1) for site in kept}
    places = {
        names[site.key]: _Place(name=names[site.key], site=site, axis=axes[site.key])
        for site in kept
    }
    order = {site.key: place for place, site in enumerate(traces[0].sites)}
    tensors = [
        Tensor(
            name=names[site.key],
            shape=tuple(n for axis, n in enumerate(site.shape) if axis != axes[site.key]),
            dtype=_RECORDED_AS[site.dtype],
            unit=float(torch.finfo(site.dtype).eps / 2) if site.dtype.is_floating_point else 0.0,
            after=tuple(
                names[key]
                for key in sorted(
                    (key for key in origins[site.key] if key in names),
                    key=order.__getitem__,
                    reverse=True,
                )
            ),
            inputs=tuple(sorted(key[6:] for key in origins[site.key] if key.startswith("input "))),
            terms=site.terms,
            returned=not site.path,
        )
        for site in kept
    ]
    return places, tuple(tensors), skipped


def _resolved(sites: tuple[Site, ...], kept: Mapping[str, int]) -> dict[str, frozenset[str]]:
    """Origins among what is kept: through a site that is not, to what it comes from."""
    resolved: dict[str, frozenset[str]] = {}
    for site in sites:
        found: set[str] = set()
        for key in site.origins:
            found |= {key} if key in kept or key.startswith("input ") else resolved[key]
        resolved[site.key] = frozenset(found)
    return resolved


def _name(site: Site, *, alone: bool) -> str:
    """`path`, of later calls `path:1`; of several tensors `path.0`; `return` for the model's own."""
    base = checkpoint_name(site.path) if site.path else "return"
    base = f"{base}:{site.call}" if site.call else base
    label = "" if alone and site.path else site.label
    return f"{base}.{label}" if label else base
