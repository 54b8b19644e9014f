"""What the transformer reads of a batch: numpy, jagged, every value once, where it belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modern.features.columns import Columns
from modern.features.feature_set import FeatureSet, compute_features
from modern.features.spec import DiscreteSpec, RealSpec
from modern.features.steps import PREFIX
from modern.transformer.config import HistoryConfig, TransformerConfig
from modern.transformer.history import StepTimes, step_places, step_times, step_weights
from replay.checkpoint import RowAxis
from replay.errors import ConfigError, StackError
from replay.request import RequestBatch
from replay.trace import BatchKeys

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInputs:
    """The model's inputs, rows of requests one after another.

    A request's features stand on its one row, a candidate's on the candidate's, a step's on the
    step's; nothing is copied. Real values are float32 with NaN where missing, codes int64, each
    within its feature's cardinality; columns in the order of `modern.transformer.layout`.

    Attributes:
        request_real, request_codes: [request, feature].
        candidate_real, candidate_codes: [candidate, feature].
        step_real, step_codes: [step, feature], a row for every logged step.
        step_age_hours: [step] float32, NaN where unknown (`modern.transformer.history.StepTimes`).
        step_old: [step] int32, 1 in the old segment.
        step_place: [step] int32, the place among the request's steps that are read; -1: not read.
        step_weight: [step] float32, how many logged steps it stands for.
        candidate_offsets, step_offsets: [request + 1]; request r owns rows offsets[r]:offsets[r+1].
    """

    request_real: Floats
    request_codes: Ints
    candidate_real: Floats
    candidate_codes: Ints
    step_real: Floats
    step_codes: Ints
    step_age_hours: Floats
    step_old: NDArray[np.int32]
    step_place: NDArray[np.int32]
    step_weight: Floats
    candidate_offsets: Ints
    step_offsets: Ints

    def __len__(self) -> int:
        """Requests."""
        return len(self.request_real)

    @property
    def num_candidates(self) -> int:
        """Candidates of all requests."""
        return len(self.candidate_real)

    def take(self, requests: Ints) -> ModelInputs:
        """These requests with their candidates and steps, in this order."""
        rows = {
            "request": np.asarray(requests, dtype=np.int64),
            "candidate": rows_of_requests(self.candidate_offsets, requests),
            "step": rows_of_requests(self.step_offsets, requests),
        }
        taken = {
            name: getattr(self, name)[rows[name.partition("_")[0]]]
            for name in _names(offsets=False)
        }
        return ModelInputs(
            **taken,
            candidate_offsets=_offsets(np.diff(self.candidate_offsets)[requests]),
            step_offsets=_offsets(np.diff(self.step_offsets)[requests]),
        )

    def without_unread(self) -> ModelInputs:
        """The same without the steps that the model does not read: what a training keeps."""
        kept = self.step_place >= 0
        read = {n: getattr(self, n)[kept] for n in _names(offsets=False) if n.startswith("step_")}
        before = np.concatenate([[0], np.cumsum(kept)])
        return replace(self, **read, step_offsets=before[self.step_offsets])


def inputs_from_batch(
    batch: RequestBatch, feature_set: FeatureSet, history: HistoryConfig
) -> ModelInputs:
    """Compute every feature of a batch and put each where the model reads it.

    Raises:
        LogError: The log lacks a field, or holds another type there.
    """
    features = compute_features(batch, feature_set)
    offsets = _step_offsets(batch.keys, feature_set)
    times, weight = no_times(), np.zeros(0, dtype=np.float32)
    if feature_set.steps:
        times = step_times(Columns(batch), history)
        weight = step_weights(offsets, times, features, history_keys(history))
    return inputs_from_features(
        features,
        feature_set,
        keys=batch.keys,
        times=times,
        weight=weight,
        place=step_places(offsets, times.old, weight, history),
    )


def inputs_from_features(
    features: Mapping[str, NDArray[Any]],
    feature_set: FeatureSet,
    *,
    keys: BatchKeys,
    times: StepTimes,
    weight: Floats,
    place: NDArray[np.int32],
) -> ModelInputs:
    """The inputs made of feature values, computed or given.

    Args:
        features: Name to the values of its axis; those of the steps are named `history.<name>`.
        feature_set: Their declarations.
        keys: Whose rows they are.
        times: Of the logged steps; of none where the feature set has no step features.
        weight: Likewise (`modern.transformer.history.step_weights`).
        place: Likewise (`modern.transformer.history.step_places`).

    Raises:
        StackError: A bucket or hash lies outside its cardinality.
    """
    sizes = {
        "request": keys.num_requests,
        "candidate": keys.num_candidates,
        "step": keys.num_rows("step") if feature_set.steps else 0,
    }
    columns = {}
    axes: tuple[RowAxis, ...] = ("request", "candidate", "step")
    for axis in axes:
        chosen = [feature for feature in feature_set.everything if feature.axis == axis]
        real = [features[f.name] for f in chosen if isinstance(f, RealSpec)]
        codes = [_codes(f, features[f.name]) for f in chosen if isinstance(f, DiscreteSpec)]
        columns[f"{axis}_real"] = _matrix(real, sizes[axis], np.float32)
        columns[f"{axis}_codes"] = _matrix(codes, sizes[axis], np.int64)
    return ModelInputs(
        **columns,
        step_age_hours=times.age_hours,
        step_old=times.old,
        step_place=place,
        step_weight=weight,
        candidate_offsets=keys.candidate_offsets,
        step_offsets=_step_offsets(keys, feature_set),
    )


def concat_inputs(parts: Sequence[ModelInputs]) -> ModelInputs:
    """The requests of several inputs of one feature set, one after another."""
    whole = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _names(offsets=False)
    }
    candidates = np.concatenate([np.diff(part.candidate_offsets) for part in parts])
    steps = np.concatenate([np.diff(part.step_offsets) for part in parts])
    return ModelInputs(
        **whole, candidate_offsets=_offsets(candidates), step_offsets=_offsets(steps)
    )


def rows_of_requests(offsets: Ints, requests: Ints) -> Ints:
    """The rows that these requests own, in their order."""
    sizes = np.diff(offsets)[requests]
    ends = np.cumsum(sizes)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
    rows: Ints = np.repeat(offsets[:-1][requests], sizes) + within
    return rows


def no_times() -> StepTimes:
    """Of a log whose steps the model does not read."""
    return StepTimes(age_hours=np.zeros(0, np.float32), old=np.zeros(0, np.int32))


def history_keys(history: HistoryConfig) -> HistoryConfig:
    """The configuration with `collapse_by` naming features as a feature set does."""
    return replace(history, collapse_by=tuple(PREFIX + name for name in history.collapse_by))


def features_read(feature_set: FeatureSet, config: TransformerConfig) -> FeatureSet:
    """The features that a model reads: without those of the steps where it reads no history."""
    if config.form != "no_history":
        return feature_set
    return replace(feature_set, steps=(), likes={})


def check_collapse(history: HistoryConfig, feature_set: FeatureSet) -> None:
    """Refuse to collapse by what is no discrete step feature.

    Raises:
        ConfigError: Naming those there are.
    """
    if not feature_set.steps:
        return
    known = [f.name.removeprefix(PREFIX) for f in feature_set.steps if isinstance(f, DiscreteSpec)]
    for name in history.collapse_by:
        if name not in known:
            raise ConfigError(
                f"steps can not be collapsed by {name!r} (known: {', '.join(known)}).",
                where="the history's configuration, collapse_by",
                fix="name discrete step features of the feature set",
            )


def _codes(feature: DiscreteSpec, values: NDArray[Any]) -> Ints:
    codes = feature.codes(values)
    if len(codes) and not 0 <= codes.min() <= codes.max() < feature.cardinality:
        raise StackError(
            f"a value has the code {codes.min()} or {codes.max()}, and the feature "
            f"has the codes 0 to {feature.cardinality - 1}.",
            where=f"features.{feature.name}",
            fix="give values that the feature's declaration in features.json allows",
        )
    return codes


def _matrix(columns: list[NDArray[Any]], rows: int, dtype: type[Any]) -> NDArray[Any]:
    matrix = np.empty((rows, len(columns)), dtype=dtype)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def _step_offsets(keys: BatchKeys, feature_set: FeatureSet) -> Ints:
    return keys.step_offsets if feature_set.steps else np.zeros_like(keys.step_offsets)


def _offsets(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _names(*, offsets: bool) -> list[str]:
    return [f.name for f in fields(ModelInputs) if f.name.endswith("_offsets") == offsets]
