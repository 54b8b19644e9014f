"""Weights and configuration of both sides beside each other: facts about a cause, not conclusions.

Values tell that a layer differs. Where both sides show what they are made of, a comparison says why,
also where rounding hides it: an epsilon in bf16, the activation inside a fused module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.explain.weight_relations import is_same, relation
from parity.judge.report import Cause
from replay.capabilities import DescribesWeights
from replay.layer_functions import ACTIVATIONS, settings_of_class
from replay.trace import Array

# Weights of both sides are held at once; a larger model is compared by its values alone.
LIMIT_BYTES = 2 << 30
# What two frameworks call the same setting.
_ALIASES: Mapping[str, str] = {"epsilon": "eps", "alpha": "negative_slope"}
# What a diagnosis by values calls a difference of these settings, and of these classes.
_KINDS: Mapping[str, str] = {
    "eps": "epsilon", "approximate": "activation", "negative_slope": "activation",
    "activation": "activation", "norm": "norm",
}  # fmt: skip
_ACTIVATIONS = frozenset({*ACTIVATIONS, "identity"})
# What a module computes, in words that every framework's names lead to.
_FUNCTIONS = (".activation", ".norm")
# Settings of how arrays are stored or run, which change no value.
_STORAGE = frozenset(
    {"inplace", "batch_first", "p", "dropout", "in_features", "out_features", "transA", "transB",
     "allowzero", "axis", "perm", "beta", "stash_type", "device", "dtype"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One difference of weights or configuration.

    Attributes:
        module: Path of the module or checkpoint it is of.
        says: In words.
        kind: As a diagnosis would call it where one has a name for it ("epsilon", "activation"),
            else "setting" or "weights".
    """

    module: str
    says: str
    kind: str


def weight_facts(reference: DescribesWeights, challenger: DescribesWeights) -> tuple[Fact, ...]:
    """Every difference between two sides' settings and weights, settings first."""
    ours, theirs = reference.weights(), challenger.weights()
    settings = reference.configuration(), challenger.configuration()
    facts = tuple(_settings(*settings))
    if sum(array.nbytes for array in (*ours.values(), *theirs.values())) > LIMIT_BYTES:
        return facts
    modules = {name.rpartition(".")[0] for name in (*theirs, *settings[1])}
    return (*facts, *_weights(ours, theirs, modules))


def with_weights(
    causes: Sequence[Cause], facts: Iterable[Fact], checkpoints: Iterable[str]
) -> tuple[tuple[Cause, ...], tuple[Fact, ...]]:
    """The causes with the facts of their own modules, and the facts that no cause is about.

    A fact belongs to the checkpoint with the longest path that leads to its module. A cause
    without a diagnosis takes its facts for one.
    """
    places = facts_by_checkpoint(facts, checkpoints)
    told = []
    for cause in causes:
        own = [fact for name in (cause.checkpoint, *cause.segment) for fact in places.pop(name, ())]
        says = tuple(f"{fact.module}: {fact.says}" for fact in own)
        why = "; ".join(says[:3]) if cause.diagnosis is None and says else cause.diagnosis
        told.append(replace(cause, weights=says, diagnosis=why))
    return tuple(told), tuple(fact for left in places.values() for fact in left)


def facts_by_checkpoint(facts: Iterable[Fact], checkpoints: Iterable[str]) -> dict[str, list[Fact]]:
    """Each fact under the checkpoint with the longest path that leads to its module."""
    known = sorted(checkpoints, key=len, reverse=True)
    places: dict[str, list[Fact]] = {}
    for fact in facts:
        places.setdefault(_owner(fact.module, known), []).append(fact)
    return places


def _owner(module: str, checkpoints: Sequence[str]) -> str:
    path = f"{module}."
    return next((name for name in checkpoints if path.startswith(f"{name}.")), module)


def _settings(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[Fact]:
    ours, theirs = _canonical(ours), _canonical(theirs)
    shared = [key for key in ours if key in theirs]
    classes = [key for key in shared if key.endswith(".class")]
    # A module and a graph have other words for every class: then they say nothing.
    alike = sum(ours[key] == theirs[key] for key in classes) > len(classes) / 2
    # What a module computes says more than what its class is called.
    told = {_module(key) for key in shared if key.endswith(_FUNCTIONS) and ours[key] != theirs[key]}
    for key in shared:
        module, _, name = key.rpartition(".")
        if name == "class" and (not alike or module in told):
            continue
        if _equal(ours[key], theirs[key]):
            continue
        yield Fact(
            module=module,
            says=f"{name} is {theirs[key]} instead of {ours[key]}",
            kind=_kind(name, ours[key], theirs[key]),
        )


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def _kind(name: str, ours: str, theirs: str) -> str:
    if name == "class" and {ours.lower(), theirs.lower()} <= _ACTIVATIONS:
        return "activation"
    return _KINDS.get(name, "setting")


def _canonical(settings: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, value in settings.items():
        module, _, name = key.rpartition(".")
        if name not in _STORAGE:
            # Keras says "hard_sigmoid" and "swish" where others say "hard sigmoid" and "silu".
            value = settings_of_class(value).get(name, value)  # noqa: PLW2901  # the same, in one word
            found[f"{module}.{_ALIASES.get(name, name)}" if module else name] = value
    return found


def _equal(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    try:
        return bool(np.float32(float(ours)) == np.float32(float(theirs)))
    except ValueError:
        return False


def _weights(
    ours: Mapping[str, Array], theirs: Mapping[str, Array], modules: Collection[str]
) -> Iterator[Fact]:
    """Weights of one name, then those that stand under another one, then those that do not."""
    alone = []
    for name, array in ours.items():
        if name in theirs:
            yield from _fact(name, relation(array, theirs[name]))
        elif not _stands(array, theirs):
            alone.append(name)
    left = {
        name: array
        for name, array in theirs.items()
        if name not in ours and not _stands(array, ours)
    }
    for name in alone:
        near = _nearest(ours[name], left) or _only_one(name, {n: ours[n] for n in alone}, left)
        if near is not None:
            other = left.pop(near[0])
            yield from _fact(name, relation(ours[name], other.T if near[1] else other))
        elif name.rpartition(".")[0] in modules and ours[name].dtype.kind == "f":
            # A graph may have folded what a module keeps; it then knows no such module.
            yield from _fact(name, "is absent")


def _stands(array: Array, others: Mapping[str, Array]) -> bool:
    """Whether the same weights stand under another name, perhaps turned, or shared with others."""
    turned = array.T if array.ndim == 2 else None
    return any(
        is_same(array, other) or (turned is not None and is_same(turned, other))
        for other in others.values()
        if other.size == array.size
    )


def _nearest(array: Array, left: Mapping[str, Array]) -> tuple[str, bool] | None:
    """The array of another name that shares most values; the half of them at least."""
    best, most = None, 0.5
    for name, other in left.items():
        for turned in (False, True) if array.ndim == 2 else (False,):
            form = other.T if turned else other
            if form.shape != array.shape or not array.size:
                continue
            with np.errstate(invalid="ignore"):
                near = float(np.mean(np.abs(form - array) <= 0.01 * np.abs(array)))
            if near > most:
                best, most = (name, turned), near
    return best


def _only_one(
    name: str, alone: Mapping[str, Array], left: Mapping[str, Array]
) -> tuple[str, bool] | None:
    """The one array left of its shape, perhaps turned, where it is the only one to look for it."""
    shape = sorted(alone[name].shape)
    rivals = [one for one in alone.values() if sorted(one.shape) == shape]
    found = [other for other, one in left.items() if sorted(one.shape) == shape]
    if len(rivals) != 1 or len(found) != 1:
        return None
    return found[0], left[found[0]].shape != alone[name].shape


def _fact(name: str, says: str | None) -> Iterator[Fact]:
    if says is not None:
        module, _, weight = name.rpartition(".")
        yield Fact(module=module, says=f"{weight} {says}", kind="weights")
