"""Real faults of a user's PyTorch module: other attributes, other modules, other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from replay.capabilities import Fault, Where

# Keras's default, where PyTorch's is 1e-5: what a careless translation brings.
OTHER_EPS = 1e-3
# Enough to be a bug, small enough to go unseen.
SCALE = 1.01
# Two weights of one training an epoch apart differ by about as much.
STALE = 1e-3
INT8_STEPS = 127.0
# A weight file as text, and a network made sparse: little enough to be taken for harmless.
DECIMALS = 3
PRUNED = 0.1

# Changes a module in place, or returns what takes its place.
Change = Callable[[nn.Module], nn.Module | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A fault of modules that it fits."""

    kind: str
    where: Where
    says: str
    fits: Callable[[nn.Module], bool]
    change: Change


def torch_faults(module: nn.Module, places: Mapping[str, str]) -> tuple[Fault, ...]:
    """The faults that a module's submodules have room for.

    Args:
        module: The whole model.
        places: Module path to the checkpoint of its output, where it has exactly one.
    """
    return tuple(_faults(module, places))


def with_torch_fault(module: nn.Module, path: str, fault: Fault) -> nn.Module:
    """A copy of the model with the fault in the submodule at that path."""
    copy = deepcopy(module)
    known = next(one for one in _KINDS if one.kind == fault.kind)
    with torch.no_grad():
        other = known.change(copy.get_submodule(path))
    if other is not None:
        copy.set_submodule(path, other.train(mode=False))
    return copy


def _faults(module: nn.Module, places: Mapping[str, str]) -> Iterator[Fault]:
    shared = _shared(module)
    for path, checkpoint in places.items():
        child = module.get_submodule(path)
        if any(id(one) in shared for one in child.parameters()):
            continue  # tied weights: a change would show in two places
        for known in _KINDS:
            if known.fits(child):
                yield Fault(
                    kind=known.kind, checkpoint=checkpoint, where=known.where, says=known.says
                )


def _shared(module: nn.Module) -> set[int]:
    seen: set[int] = set()
    twice: set[int] = set()
    for _, one in module.named_parameters(remove_duplicate=False):
        (twice if id(one) in seen else seen).add(id(one))
    return twice


def _is(*kinds: type[nn.Module]) -> Callable[[nn.Module], bool]:
    return lambda module: isinstance(module, kinds)


def _weight(module: nn.Module) -> Tensor | None:
    """The matrix that is applied last."""
    if isinstance(module, nn.MultiheadAttention):
        return module.out_proj.weight
    if isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d | nn.Bilinear):
        return module.weight
    return None


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.MultiheadAttention)


def _has_bias(module: nn.Module) -> bool:
    bias = module.out_proj.bias if isinstance(module, nn.MultiheadAttention) else None
    if isinstance(module, nn.Linear | nn.LayerNorm):
        bias = module.bias
    return bias is not None and bool((bias != 0).any())


def _bias(module: nn.Module) -> Tensor:
    owner = module.out_proj if isinstance(module, nn.MultiheadAttention) else module
    bias = owner.bias
    assert isinstance(bias, Tensor), "only those with a bias are offered"
    return bias


def _on_weight(change: Callable[[Tensor], Tensor]) -> Change:
    def changed(module: nn.Module) -> None:
        weight = _weight(module)
        assert weight is not None, "only those with a weight are offered"
        weight.copy_(change(weight.clone()))

    return changed


def _row_scaled(weight: Tensor) -> Tensor:
    weight[int(weight.abs().sum(dim=1).argmax())] *= SCALE
    return weight


def _halves_exchanged(weight: Tensor) -> Tensor:
    return weight.roll(weight.shape[0] // 2, 0)


def _columns_exchanged(weight: Tensor) -> Tensor:
    order = torch.arange(weight.shape[1])
    order[0], order[1] = 1, 0
    return weight[:, order]


def _quantised(weight: Tensor) -> Tensor:
    step = weight.abs().max().clamp(min=1e-30) / INT8_STEPS
    return (weight / step).round() * step


def _stale(weight: Tensor) -> Tensor:
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return weight + STALE * weight.std() * drawn.to(weight)


def _pruned(weight: Tensor) -> Tensor:
    return weight * (weight.abs() > weight.abs().quantile(PRUNED))


def _is_square(module: nn.Module) -> bool:
    weight = _weight(module)
    return _has_weight(module) and weight is not None and weight.shape[0] == weight.shape[1] > 1


def _attribute(name: str, value: Callable[[float], float]) -> Change:
    def change(module: nn.Module) -> None:
        setattr(module, name, value(getattr(module, name)))

    return change


def _zeroed_bias(module: nn.Module) -> None:
    _bias(module).zero_()


def _doubled_bias(module: nn.Module) -> None:
    _bias(module).mul_(2.0)


def _rolled_bias(module: nn.Module) -> None:
    _bias(module).copy_(_bias(module).roll(1))


def _has_gain(module: nn.Module) -> bool:
    if not isinstance(module, nn.LayerNorm) or not module.elementwise_affine:
        return False
    return not torch.equal(module.weight, torch.ones_like(module.weight))


def _gain_left_out(module: nn.Module) -> None:
    assert isinstance(module, nn.LayerNorm)
    module.weight.fill_(1.0)


class MeanKept(nn.Module):
    """A root-mean-square norm in place of a layer norm: the mean is not taken away."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """As the norm, without its mean."""
        scaled = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.norm.eps)
        scaled = scaled if self.norm.weight is None else scaled * self.norm.weight
        return scaled if self.norm.bias is None else scaled + self.norm.bias


def _as_rms(module: nn.Module) -> nn.Module:
    assert isinstance(module, nn.LayerNorm)
    return MeanKept(module)


def _is_exact_gelu(module: nn.Module) -> bool:
    return isinstance(module, nn.GELU) and module.approximate == "none"


def _heads_exchanged(module: nn.Module) -> None:
    """The output projection reads the heads in another order."""
    assert isinstance(module, nn.MultiheadAttention)
    weight = module.out_proj.weight
    weight.copy_(weight.roll(module.head_dim, 1))


def _query_key_exchanged(module: nn.Module) -> None:
    assert isinstance(module, nn.MultiheadAttention)
    size = module.embed_dim
    for one in (module.in_proj_weight, module.in_proj_bias):
        if one is not None:
            query = one[:size].clone()
            one[:size] = one[size : 2 * size]
            one[size : 2 * size] = query


def _unscaled(module: nn.Module) -> None:
    """Scores are not divided by the root of the head's width."""
    assert isinstance(module, nn.MultiheadAttention)
    for one in (module.in_proj_weight, module.in_proj_bias):
        if one is not None:
            one[: module.embed_dim] *= module.head_dim**0.5


def _packs_heads(module: nn.Module) -> bool:
    if not isinstance(module, nn.MultiheadAttention) or module.in_proj_weight is None:
        return False
    return int(module.num_heads) > 1


def _next_row(weight: Tensor) -> Tensor:
    return weight.roll(1, 0)


def _scaled(factor: float) -> Change:
    return _on_weight(lambda weight: weight * factor)


def _rows_alike(weight: Tensor) -> Tensor:
    """The first row, a padding row by custom, holds the second one's values."""
    weight[0] = weight[1]
    return weight


def _kind(
    kind: str, where: Where, says: str, fits: Callable[[nn.Module], bool], change: Change
) -> _Kind:
    return _Kind(kind=kind, where=where, says=says, fits=fits, change=change)


_KINDS: tuple[_Kind, ...] = (
    _kind("norm_eps", "configuration", f"the norm's epsilon is {OTHER_EPS:g}",
          _is(nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d), _attribute("eps", lambda _: OTHER_EPS)),
    _kind("norm_gain_left_out", "artifact", "the norm's gain is left out", _has_gain, _gain_left_out),
    _kind("rms_for_layer_norm", "code", "the mean is not taken away before the norm",
          lambda m: isinstance(m, nn.LayerNorm) and len(m.normalized_shape) == 1, _as_rms),
    _kind("gelu_tanh", "configuration", "GELU is approximated by tanh", _is_exact_gelu,
          lambda _: nn.GELU(approximate="tanh")),
    _kind("gelu_as_relu", "code", "ReLU stands for GELU", _is(nn.GELU), lambda _: nn.ReLU()),
    _kind("gelu_as_silu", "code", "SiLU stands for GELU", _is(nn.GELU), lambda _: nn.SiLU()),
    _kind("relu_as_gelu", "code", "GELU stands for ReLU", _is(nn.ReLU), lambda _: nn.GELU()),
    _kind("relu_leaks", "code", "a leaky ReLU stands for ReLU", _is(nn.ReLU),
          lambda _: nn.LeakyReLU()),
    _kind("silu_as_gelu", "code", "GELU stands for SiLU", _is(nn.SiLU), lambda _: nn.GELU()),
    _kind("tanh_hard", "code", "a hard tanh stands for tanh", _is(nn.Tanh), lambda _: nn.Hardtanh()),
    _kind("sigmoid_hard", "code", "a hard sigmoid stands for the sigmoid", _is(nn.Sigmoid),
          lambda _: nn.Hardsigmoid()),
    _kind("slope_changed", "configuration", "the negative slope is another", _is(nn.LeakyReLU),
          _attribute("negative_slope", lambda slope: 2.0 * slope)),
    _kind("weight_scale", "artifact", "one row of the weights is 1 % too large", _has_weight,
          _on_weight(_row_scaled)),
    _kind("weights_scaled", "artifact", "all weights are 1 % too large", _has_weight, _scaled(SCALE)),
    _kind("weights_transposed", "artifact", "a square matrix is transposed", _is_square,
          _on_weight(lambda weight: weight.t())),
    _kind("rows_exchanged", "artifact", "the halves of the weights' rows are exchanged",
          lambda m: isinstance(m, nn.Linear) and m.out_features > 1, _on_weight(_halves_exchanged)),
    _kind("inputs_exchanged", "artifact", "the first two inputs are exchanged",
          lambda m: isinstance(m, nn.Linear) and m.in_features > 1, _on_weight(_columns_exchanged)),
    _kind("weights_float16", "artifact", "the weights were kept in float16", _has_weight,
          _on_weight(lambda weight: weight.half().to(weight))),
    _kind("weights_bfloat16", "artifact", "the weights were kept in bfloat16", _has_weight,
          _on_weight(lambda weight: weight.bfloat16().to(weight))),
    _kind("weights_int8", "artifact", "the weights were kept in 8 bits", _has_weight,
          _on_weight(_quantised)),
    _kind("weights_stale", "artifact", "the weights are of an earlier step", _has_weight,
          _on_weight(_stale)),
    _kind("weights_as_text", "artifact", f"the weights were written with {DECIMALS} decimals", _has_weight,
          _on_weight(lambda weight: weight.round(decimals=DECIMALS))),
    _kind("weights_pruned", "artifact", "the smallest tenth of the weights is 0", _has_weight,
          _on_weight(_pruned)),
    _kind("inputs_reversed", "artifact", "the inputs are read from the other end",
          lambda m: isinstance(m, nn.Linear) and m.in_features > 1,
          _on_weight(lambda weight: weight.flip(1))),
    _kind("bias_left_out", "artifact", "the bias is left out", _has_bias, _zeroed_bias),
    _kind("bias_twice", "artifact", "the bias is added twice", _has_bias, _doubled_bias),
    _kind("bias_late", "artifact", "the bias is one place off",
          lambda m: _has_bias(m) and len(_bias(m)) > 1, _rolled_bias),
    _kind("heads_exchanged", "artifact", "heads are read in another order", _packs_heads,
          _heads_exchanged),
    _kind("query_key_exchanged", "artifact", "queries and keys are exchanged", _packs_heads,
          _query_key_exchanged),
    _kind("scores_unscaled", "code", "attention scores are not divided by the root of the width",
          _packs_heads, _unscaled),
    _kind("embedding_late", "artifact", "the table is one row off", _is(nn.Embedding),
          _on_weight(_next_row)),
    _kind("embedding_scaled", "code", "embeddings are 1 % too large", _is(nn.Embedding),
          _scaled(SCALE)),
    _kind("embedding_float16", "artifact", "the table was kept in float16", _is(nn.Embedding),
          _on_weight(lambda weight: weight.half().to(weight))),
    _kind("reserved_row", "artifact", "row 0 holds what row 1 does", _is(nn.Embedding),
          _on_weight(_rows_alike)),
)  # fmt: skip
# Their names.
TORCH_KINDS: tuple[str, ...] = tuple(one.kind for one in _KINDS)
