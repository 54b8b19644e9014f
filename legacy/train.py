"""From logged days to an artifact: trees, regression and calibration on disjoint requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import legacy
from legacy.artifact import (
    LegacyModel,
    RegressionWeights,
    TrainingFacts,
    open_artifact,
    read_manifest,
    write_artifact,
)
from legacy.feature_set import FeatureSet, feature_set_from_json
from legacy.gbdt import LeafFinder, TreesConfig, grow_trees, trees_of
from legacy.leaf_columns import CategoryColumns, columns_from_leaves
from legacy.metrics import figures
from legacy.training_rows import (
    MIN_ID_COUNT,
    SHARES,
    TrainingRows,
    parts_of,
    read_rows,
    with_vocabularies,
)
from legacy.trees import Trees
from legacy.versions import installed_versions
from replay.digests import digest_of_code, digest_of_json
from replay.errors import ArtifactError, ConfigError
from replay.logs.parquet import list_days, open_day

# With less the trees say little that the regression could weigh; the model would be a toy.
MIN_TREES = 100
MIN_MEDIAN_LEAVES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionConfig:
    """How the regression is trained.

    Attributes:
        l2: Penalty l2 / 2 * sum(weight^2), next to the summed log loss of all rows. With
            n weights a candidate it expects log-odds to spread by sqrt(n / l2) around the
            mean: 0.85 for 120 trees and 25 features.
        steps: Of Adam, over all rows at once; the loss no longer moves after.
        learning_rate: Of Adam, falling to nothing along half a cosine.
    """

    l2: float = 200.0
    steps: int = 300
    learning_rate: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What to train, and from what.

    Attributes:
        features: Name of a feature set of this package, or a file of one.
        days: To train on, in order.
        held_out: To measure on; not trained on, and not the days to replay.
        seed: Of the trees, and of the split of requests.
    """

    logs: Path
    out: Path
    features: str
    days: tuple[date, ...]
    held_out: tuple[date, ...]
    seed: int = 7
    trees: TreesConfig = field(default_factory=TreesConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it.

    Attributes:
        fresh: False where the artifact of the same training stood already.
        metrics: Held-out figures of `prior` and `legacy`.
    """

    path: Path
    training_id: str
    fresh: bool
    metrics: dict[str, Any]


def choose_days(
    logs: Path, days: Span | None, held_out: Span | None
) -> tuple[tuple[date, ...], tuple[date, ...]]:
    """The days to train on and the days to hold out: those logged within what is asked for.

    By default the log's last day is left for replay, the day before it is held out and the
    earlier ones train.

    Raises:
        LogError: There is no log.
        ConfigError: The log has too few days, or a held-out day does not come after all others.
    """
    there = list_days(logs)
    if held_out is None:
        earlier = [day for day in there[:-1] if not days or day > days.last]
        if not earlier or (days is None and len(there) < 3):
            raise ConfigError(
                f"{len(there)} days are too few to train, hold one out and replay one.",
                where=str(logs),
                fix="import at least three days, or name them: --days FIRST:LAST --held-out DAY",
            )
        held_out = Span(earlier[-1], earlier[-1])
    kept = held_out.among(there, logs)
    before = tuple(d for d in there if d < kept[0])
    chosen = before if days is None else days.among(there, logs)
    if not chosen or chosen[-1] >= kept[0]:
        raise ConfigError(
            f"no day before {kept[0]}, the first held out, is left to train on."
            if not chosen
            else f"{chosen[-1]} is trained on and does not lie before {kept[0]}, held out.",
            where="--days and --held-out",
            fix="train on days before those held out",
        )
    return chosen, kept


@dataclass(frozen=True, slots=True)
class Span:
    """Calendar days from `first` to `last`, both included; a log need not have them all."""

    first: date
    last: date

    def among(self, there: Sequence[date], logs: Path) -> tuple[date, ...]:
        """The logged days within.

        Raises:
            ConfigError: There is none.
        """
        found = tuple(day for day in there if self.first <= day <= self.last)
        if not found:
            raise ConfigError(
                f"the log has no day from {self.first} to {self.last}.",
                where=str(logs),
                fix=f"name days from {there[0]} to {there[-1]}",
            )
        return found


def text_of_days(days: Sequence[date]) -> str:
    """A day, or the first and last of several: 2019-11-24:2019-11-28."""
    return ":".join(day.isoformat() for day in sorted({days[0], days[-1]}))


def train(training: Training, *, say: Callable[[str], object] = lambda _: None) -> Trained:
    """Train and write the artifact, unless the same training's artifact stands already.

    Raises:
        LogError: A day can not be read.
        ConfigError: The feature set can not be used, or a feature came out unused.
    """
    features = load_feature_set(training.features)
    facts = _facts(training, features)
    known = _standing(training.out, facts.training_id)
    if known is not None:
        say(f"nothing to do: {training.out} is this training's artifact already.")
        return Trained(path=training.out, training_id=facts.training_id, fresh=False, metrics=known)
    rows = read_rows(training.logs, training.days, features)
    held_out = read_rows(training.logs, training.held_out, features)
    for name, read in (("training", rows), ("held-out", held_out)):
        say(
            f"{name} rows: {len(read.clicks):,} labelled candidates, "
            f"{int(read.clicks.sum()):,} clicks, of {read.read:,} requests "
            f"({sum(read.rejected.values())} rejected)"
        )
    features = with_vocabularies(features, rows)
    model = _fit(training, features, rows, held_out, say)
    write_artifact(training.out, model=model, facts=facts)
    say(f"wrote {training.out} (training {facts.training_id})")
    return Trained(
        path=training.out,
        training_id=facts.training_id,
        fresh=True,
        metrics=dict(model.metrics),
    )


def load_feature_set(name: str) -> FeatureSet:
    """A feature set of this package by name, or of a file by path.

    Raises:
        ConfigError: There is none, or it can not be used.
    """
    folder = files(legacy) / "feature_sets"
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
    source = folder / f"{name}.json" if name in known else Path(name)
    try:
        value = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"feature set {name!r} can not be read: {error}.",
            where=str(source),
            fix=f"name one of {', '.join(known)}, or the path of a JSON file",
        ) from error
    return feature_set_from_json(value, where=str(source), trained=False, error=ConfigError)


def _fit(
    training: Training,
    features: FeatureSet,
    rows: TrainingRows,
    held_out: TrainingRows,
    say: Callable[[str], object],
) -> LegacyModel:
    from legacy.calibration import fit_calibration, pctr_from_logits
    from legacy.regression import Regression, train_regression

    parts = parts_of(rows, seed=training.seed)
    for name, part in parts.items():
        if len(np.unique(part.clicks)) != 2:
            raise ConfigError(
                f"the {len(part.clicks)} rows for the {name} are all clicked or all not.",
                where=f"{training.logs}, {training.days[0]} to {training.days[-1]}",
                fix="train on more days",
            )
    names = tuple(feature.name for feature in features.real)
    growing = parts["trees"]
    booster = grow_trees(
        growing.matrix(features.real),
        growing.clicks,
        names=names,
        config=training.trees,
        seed=training.seed,
    )
    trees = trees_of(booster, names, where="the trees just grown")
    _check_size(trees)
    leaves_per_tree = np.diff(trees.leaf_offsets)
    say(f"trees: {len(trees.trees)}, median {np.median(leaves_per_tree):g} leaves")

    finder = LeafFinder(booster, trees)
    encoder = CategoryColumns(features)

    def columns(part: TrainingRows) -> tuple[Any, Any]:
        leaves = finder.leaves(part.matrix(features.real))
        encoded = [encoder.encode(f.name, part.features[f.name]) for f in features.discrete]
        return columns_from_leaves(leaves, trees.leaf_offsets), encoder.stacked(encoded)

    fitted = train_regression(
        *columns(parts["regression"]),
        parts["regression"].clicks,
        leaf_offsets=trees.leaf_offsets,
        num_categories=encoder.num_columns,
        l2=training.regression.l2,
        steps=training.regression.steps,
        learning_rate=training.regression.learning_rate,
    )
    _check_used(features, trees, fitted, encoder)
    regression = Regression(fitted)

    def logits(part: TrainingRows) -> Any:
        leaf_columns, category_columns = columns(part)
        return regression.logit(
            regression.leaf_sum(leaf_columns), regression.category_sum(category_columns)
        )

    calibration = fit_calibration(logits(parts["calibration"]), parts["calibration"].clicks)
    say(f"calibration: slope {calibration.slope:.3f}, intercept {calibration.intercept:+.3f}")
    pctr = pctr_from_logits(logits(held_out), calibration)
    prior = np.full(len(held_out.clicks), rows.clicks.mean(dtype=np.float64))
    return LegacyModel(
        features=features,
        booster=booster,
        regression=fitted,
        calibration=calibration,
        metrics={
            "held_out": text_of_days(training.held_out),
            "prior": figures(prior, held_out.clicks),
            "legacy": figures(pctr, held_out.clicks),
        },
    )


def _check_size(trees: Trees) -> None:
    median = float(np.median(np.diff(trees.leaf_offsets)))
    if len(trees.trees) < MIN_TREES or median < MIN_MEDIAN_LEAVES:
        raise ConfigError(
            f"{len(trees.trees)} trees with a median of {median:g} leaves came out; "
            f"at least {MIN_TREES} and {MIN_MEDIAN_LEAVES} are needed.",
            where="the trees just grown",
            fix="train on more days, or allow more, deeper trees",
        )


def _check_used(
    features: FeatureSet, trees: Trees, weights: RegressionWeights, encoder: CategoryColumns
) -> None:
    """Refuse a model that ignores a feature: its translations could be wrong, unseen."""
    split = trees.splits_on()
    unused = [f"{f.name} (no split)" for f in features.real if f.name not in split]
    unused += [
        f"{f.name} (no weight)"
        for f in features.discrete
        if not weights.category_weights[encoder.blocks[f.name]].any()
    ]
    if unused:
        raise ConfigError(
            f"the model came out without using: {', '.join(unused)}.",
            where="the trees and weights just trained",
            fix="leave these features out of the feature set, or train on days where they vary",
        )


def _facts(training: Training, features: FeatureSet) -> TrainingFacts:
    days = (*training.days, *training.held_out)
    digests = {day.isoformat(): open_day(training.logs, day).digest for day in days}
    return TrainingFacts(
        trained_on=tuple(day.isoformat() for day in training.days),
        log_digest=digest_of_json(digests),
        feature_set=training.features,
        seed=training.seed,
        versions={
            **installed_versions(),
            "legacy": digest_of_code(legacy),
        },
        config={
            "held_out": text_of_days(training.held_out),
            "features": digest_of_json(features.to_json()),
            "shares": dict(SHARES),
            "min_id_count": MIN_ID_COUNT,
            "trees": asdict(training.trees),
            "regression": asdict(training.regression),
        },
    )


def _standing(out: Path, training_id: str) -> dict[str, Any] | None:
    """The metrics of the artifact that stands there, when it is whole and of this training."""
    try:
        if read_manifest(out)["training_id"] != training_id:
            return None
        return dict(open_artifact(out).model.metrics)
    except ArtifactError:
        return None
