"""Real faults for drills: each changes the transformer's configuration, weights, features or code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.features.columns import Columns
from modern.features.discrete import Hash
from modern.features.feature_set import FeatureSet
from modern.features.numeric import Hour, Weekday
from modern.features.spec import FeatureSpec
from modern.transformer.artifact import TransformerArtifact
from modern.transformer.attention import FeedForward, KeysValues, SelfAttention
from modern.transformer.config import HistoryConfig
from modern.transformer.history import HistoryCode, StepTimes, requests_of
from modern.transformer.interaction import CandidateAttention, TaskAttention
from modern.transformer.interest import InterestAttention, Memory
from modern.transformer.model import Heads, RankingTransformer
from modern.transformer.module_places import AGE, PLACE, module_places
from modern.transformer.tokens import AgeBuckets, CodeTable, StepTokens
from replay.adapters.torch_faults import torch_faults, with_torch_fault
from replay.capabilities import Fault, Where

# Keras's default, where PyTorch's is 1e-5: what a careless translation brings.
OTHER_EPS = 1e-3
TOKYO_MINUTES = 540
DROPPED = 0.1  # the share that dropout zeroes where it is left on and was trained without

Change = Callable[[TransformerArtifact], TransformerArtifact]
Ints = NDArray[np.int64]
Steps = NDArray[np.int32]
Floats = NDArray[np.float32]
Places = Callable[[Ints, Steps, Floats, HistoryConfig], Steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planted:
    """A fault and how it is put in."""

    fault: Fault
    change: Change


def transformer_faults(artifact: TransformerArtifact) -> tuple[Fault, ...]:
    """The faults that this artifact has room for, in execution order."""
    return tuple(planted.fault for planted in _all(artifact))


def put_fault(artifact: TransformerArtifact, fault: Fault) -> TransformerArtifact:
    """A copy with the fault in it; `fault` is one of `transformer_faults`."""
    wanted = (fault.kind, fault.checkpoint)
    for planted in _all(artifact):
        if (planted.fault.kind, planted.fault.checkpoint) == wanted:
            return planted.change(artifact)
    raise AssertionError(f"{fault} is not offered")


def _all(artifact: TransformerArtifact) -> Iterator[_Planted]:
    yield from _feature_faults(artifact.feature_set)
    if artifact.model.reads_history:
        yield from _history_faults(artifact)
    for place in module_places(artifact.layout, artifact.config.transformer):
        module = artifact.model.get_submodule(place.path)
        yield from _module_faults(place.path, module)
        for part in _parts(place.path, module):
            yield from _general_faults(artifact, place.path, part)


def _feature_faults(feature_set: FeatureSet) -> Iterator[_Planted]:
    for feature in feature_set.everything:
        if isinstance(feature, Hour | Weekday):
            kind, says = "utc_offset", "UTC is taken for local time (or Tokyo's clock for UTC)"
        elif isinstance(feature, Hash):
            kind, says = "hash_seed", "the hash is seeded with one more"
        else:
            continue
        yield _planted(
            kind, f"features.{feature.name}", "configuration", says, _with_feature(feature)
        )


def _with_feature(feature: FeatureSpec) -> Change:
    def other(one: FeatureSpec) -> FeatureSpec:
        if one.name != feature.name:
            return one
        if isinstance(one, Hash):
            return replace(one, seed=(one.seed + 1) % 2**32)
        assert isinstance(one, Hour | Weekday), "only these are offered"
        return replace(one, utc_offset_minutes=0 if one.utc_offset_minutes else TOKYO_MINUTES)

    def change(artifact: TransformerArtifact) -> TransformerArtifact:
        changed = replace(
            artifact.feature_set,
            features=tuple(map(other, artifact.feature_set.features)),
            steps=tuple(map(other, artifact.feature_set.steps)),
        )
        return replace(artifact, feature_set=changed)

    return change


def _history_faults(artifact: TransformerArtifact) -> Iterator[_Planted]:
    code = artifact.history_code

    def with_code(**changed: Any) -> Change:
        return lambda before: replace(before, history_code=replace(code, **changed))

    yield _planted(
        "age_in_days", AGE, "code", "ages are in days", with_code(step_times=_in_days(code))
    )
    for kind, says, wrong in (
        ("history_lag", "the newest step has not arrived yet", _without_the_newest),
        ("truncate_newest", "the oldest steps are kept, not the newest", _keeping_the_oldest),
        ("reverse_history", "the steps stand newest first", _newest_first),
    ):
        yield _planted(kind, PLACE, "code", says, with_code(step_places=wrong(code)))


def _in_days(code: HistoryCode) -> Callable[[Columns, HistoryConfig], StepTimes]:
    def wrong(columns: Columns, config: HistoryConfig) -> StepTimes:
        times = code.step_times(columns, config)
        return replace(times, age_hours=times.age_hours / np.float32(24))

    return wrong


def _without_the_newest(code: HistoryCode) -> Places:
    def wrong(offsets: Ints, old: Steps, weight: Floats, config: HistoryConfig) -> Steps:
        arrived = weight.copy()
        arrived[offsets[1:][np.diff(offsets) > 0] - 1] = 0
        return code.step_places(offsets, old, arrived, config)

    return wrong


def _keeping_the_oldest(code: HistoryCode) -> Places:
    def wrong(offsets: Ints, old: Steps, weight: Floats, config: HistoryConfig) -> Steps:
        # Read backwards the newest are the oldest; then turned round again, rows and places.
        turned = offsets[-1] - offsets[::-1]
        place = code.step_places(turned, old[::-1], weight[::-1], config)[::-1]
        return _newest_first_of(offsets, place)

    return wrong


def _newest_first(code: HistoryCode) -> Places:
    def wrong(offsets: Ints, old: Steps, weight: Floats, config: HistoryConfig) -> Steps:
        return _newest_first_of(offsets, code.step_places(offsets, old, weight, config))

    return wrong


def _newest_first_of(offsets: Ints, place: Steps) -> Steps:
    read = np.zeros(len(offsets) - 1, dtype=np.int32)
    np.add.at(read, requests_of(offsets), place >= 0)
    turned: Steps = np.where(place >= 0, read[requests_of(offsets)] - 1 - place, -1)
    return turned.astype(np.int32)


def _module_faults(path: str, module: nn.Module) -> Iterator[_Planted]:
    if isinstance(module, nn.LayerNorm):
        says = f"the norm's epsilon is {OTHER_EPS:g} instead of {module.eps:g}"
        yield _planted("layernorm_eps", path, "configuration", says, _with_module(path, _other_eps))
    if isinstance(module, FeedForward):
        says = "GELU is approximated by tanh"
        yield _planted("gelu_tanh", path, "configuration", says, _with_module(path, _tanh))
    if isinstance(module, AgeBuckets):
        says = "ages are one bucket too high"
        yield _planted("age_bucket", path, "code", says, _with_class(path, _OneBucketHigher))
    if isinstance(module, StepTokens):
        says = "codes lack the one that padding takes: the first is padding's"
        yield _planted("padding_id_shared", path, "code", says, _with_class("codes", _Unshifted))
    if isinstance(module, SelfAttention) and path.startswith("history."):
        says = "steps see what the mask hides, and nothing else"
        yield _planted("mask_inverted", path, "code", says, _with_class(path, _SelfInverted))
    if isinstance(module, InterestAttention):
        says = "candidates see the padding, and nothing else"
        yield _planted("mask_inverted", path, "code", says, _with_class(path, _InterestInverted))
    if isinstance(module, WITH_DROPOUT):
        says = f"dropout of {DROPPED:g} is left on"
        yield _planted("dropout_left_on", path, "code", says, _with_module(path, _dropping))
    if isinstance(module, (*WITH_DROPOUT, Heads)):
        says = "one row of the weights that are applied last is 1 % too large"
        yield _planted("weight_scale", path, "artifact", says, _with_module(path, _scaled))


def _parts(path: str, module: nn.Module) -> Iterator[str]:
    """Of a place, what is applied last, and its activation."""
    if isinstance(module, nn.LayerNorm):
        yield path
    elif isinstance(module, FeedForward):
        yield from (f"{path}.activation", f"{path}.down")
    elif isinstance(module, WITH_DROPOUT):
        yield f"{path}.out"


def _general_faults(artifact: TransformerArtifact, path: str, part: str) -> Iterator[_Planted]:
    """Those that a part can have whatever model it is of."""
    for fault in torch_faults(artifact.model, {part: path}):
        if fault.kind in GENERAL:
            yield _Planted(fault=fault, change=_with_general(part, fault))


def _with_general(part: str, fault: Fault) -> Change:
    def changed(artifact: TransformerArtifact) -> TransformerArtifact:
        model = cast("RankingTransformer", with_torch_fault(artifact.model, part, fault))
        return replace(artifact, model=model)

    return changed


# Of a module's faults those that are not offered above under the model's own names.
GENERAL = frozenset(
    {"norm_gain_left_out", "gelu_as_relu", "gelu_as_silu", "weights_transposed", "rows_exchanged",
     "inputs_exchanged", "inputs_reversed", "weights_bfloat16", "weights_int8", "weights_stale",
     "weights_as_text", "weights_pruned", "bias_left_out", "bias_late"}
)  # fmt: skip
WITH_DROPOUT = (SelfAttention, CandidateAttention, TaskAttention, InterestAttention, FeedForward)


def _with_module(path: str, change: Callable[[nn.Module], None]) -> Change:
    def changed(artifact: TransformerArtifact) -> TransformerArtifact:
        model = deepcopy(artifact.model)
        change(model.get_submodule(path))
        return replace(artifact, model=model)

    return changed


def _with_class(path: str, kind: type[nn.Module]) -> Change:
    """The same parameters under other code."""

    def put(module: nn.Module) -> None:
        module.__class__ = kind

    return _with_module(path, put)


def _other_eps(module: nn.Module) -> None:
    cast("nn.LayerNorm", module).eps = OTHER_EPS


def _tanh(module: nn.Module) -> None:
    cast("FeedForward", module).activation = nn.GELU(approximate="tanh")


def _dropping(module: nn.Module) -> None:
    module.dropout = _LeftOn()


def _scaled(module: nn.Module) -> None:
    if isinstance(module, Heads):
        weight: Tensor = module.weight
    else:
        last = module.down if isinstance(module, FeedForward) else module.out
        weight = cast("nn.Linear", last).weight
    with torch.no_grad():
        row = int(weight.abs().sum(dim=1).argmax())
        weight[row] *= 1.01


class _OneBucketHigher(AgeBuckets):
    def forward(self, age_BT: Tensor) -> Tensor:
        return (super().forward(age_BT) + 1).clamp(max=self.num_buckets)


class _Unshifted(CodeTable):
    def forward(self, code_XN: Tensor, side: str) -> Tensor:
        return super().forward((code_XN - 1).clamp(min=0) if side == "step" else code_XN, side)


class _SelfInverted(SelfAttention):
    def forward(
        self, normed_BSD: Tensor, bias_B1SL: Tensor | None, before: KeysValues | None = None
    ) -> Tensor:
        return super().forward(normed_BSD, _inverted(bias_B1SL), before)


class _InterestInverted(InterestAttention):
    def forward(self, candidates_BKND: Tensor, memory: Memory) -> Tensor:
        inverted = _inverted(memory.bias_B11L)
        assert inverted is not None, "a memory has one"
        return super().forward(candidates_BKND, Memory(memory.shown, inverted))


class _LeftOn(nn.Module):
    """Dropout as in training, drawn by the place of a value: the same twice, and in a graph too.

    A generator can not be exported. Source of the hash: Knuth, "Sorting and searching", 6.4.
    """

    def forward(self, x_XD: Tensor) -> Tensor:
        place_X = torch.arange(x_XD.numel(), device=x_XD.device)
        drawn_XD = (place_X * 2654435761 % 2**32).view(x_XD.shape) / 2**32
        return x_XD * (drawn_XD >= DROPPED) / (1 - DROPPED)


def _inverted(bias: Tensor | None) -> Tensor | None:
    if bias is None:
        return None
    hidden = bias < torch.finfo(bias.dtype).min / 4
    return torch.where(hidden, 0.0, torch.finfo(bias.dtype).min / 2).to(bias.dtype)


def _planted(kind: str, checkpoint: str, where: Where, says: str, change: Change) -> _Planted:
    return _Planted(
        fault=Fault(kind=kind, checkpoint=checkpoint, where=where, says=says), change=change
    )
