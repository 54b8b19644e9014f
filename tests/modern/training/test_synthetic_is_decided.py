from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modern.features.feature_set import open_feature_set
from modern.training.data import LabelledRequests, labelled_requests, split_rows
from modern.training.fit import fit_transformer
from modern.training.metrics import log_losses, quality_of
from modern.transformer.calibration import fit_calibration, pctr_from_logits
from modern.transformer.forward import logits_of
from modern.transformer.inputs import ModelInputs
from modern.transformer.layout import layout_of
from modern.transformer.training_config import ModernConfig, TrainingConfig
from replay.logs.parquet import list_days, open_day
from tests.modern.small_synthetic import INFORMATIVE, NOISE, write_features, write_log


class Trained:
    """A transformer fitted to three synthetic days, and two that it has not seen."""

    def __init__(self, root: Path) -> None:
        logs = write_log(root / "logs", days=5, requests=1200)
        features = open_feature_set(write_features(root / "features.json", logs))
        self.layout = layout_of(features)
        days = [open_day(logs, day) for day in list_days(logs)]
        config = ModernConfig(training=TrainingConfig(epochs=8))
        requests = labelled_requests(days[:3], features, config)
        parts = split_rows(requests, kept_back_share=0.125, seed=7)
        self.model = fit_transformer(parts, self.layout, config).model
        self.calibration = fit_calibration(
            logits_of(self.model, parts.calibration.inputs)[:, 0], parts.calibration.click
        )
        self.held_out = labelled_requests(days[3:], features, config)

    def pctr(self, inputs: ModelInputs) -> np.ndarray:
        return pctr_from_logits(logits_of(self.model, inputs)[:, 0], self.calibration)

    def shuffled(self, name: str, *, seed: int) -> ModelInputs:
        """The held-out inputs with one feature's values dealt out anew over all of its rows."""
        inputs = self.held_out.inputs
        for axis, side in (("request", self.layout.request), ("candidate", self.layout.candidate)):
            for part, names in (("real", side.real), ("codes", side.discrete)):
                if name in names:
                    values = getattr(inputs, f"{axis}_{part}").copy()
                    order = np.random.default_rng(seed).permutation(len(values))
                    place = names.index(name)
                    values[:, place] = values[order, place]
                    return replace(inputs, **{f"{axis}_{part}": values})
        raise AssertionError(f"no feature is called {name}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


def difference_in_ne(
    before: np.ndarray, after: np.ndarray, rows: LabelledRequests, *, draws: int = 1000
) -> tuple[float, float]:
    """The central 99 % of `after` - `before` in normalised entropy, resampled by request.

    Both predictions are judged on the same draw of requests, so what is common cancels.
    """
    request = np.repeat(np.arange(len(rows.inputs)), np.diff(rows.inputs.candidate_offsets))
    gap = np.bincount(request, log_losses(after, rows.click) - log_losses(before, rows.click))
    clicks = np.bincount(request, rows.click)
    counts = np.bincount(request)
    drawn = np.random.default_rng(0).integers(len(counts), size=(draws, len(counts)))
    rate = clicks[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    differences = gap[drawn].sum(axis=1) / counts[drawn].sum(axis=1) / entropy
    low, high = np.quantile(differences, [0.005, 0.995])
    return float(low), float(high)


def test_on_the_synthetic_log_quality_is_decided_against_the_prior(trained: Trained) -> None:
    rows = trained.held_out
    prior = np.full(len(rows), rows.click.mean())

    found = quality_of(trained.pctr(rows.inputs), rows.click)

    assert found.ne is not None and found.ne < 0.85
    assert found.auc is not None and found.auc > 0.78
    _, high = difference_in_ne(prior, trained.pctr(rows.inputs), rows)
    assert high < 0


@pytest.mark.parametrize("name", [feature["name"] for feature in INFORMATIVE])
def test_shuffling_an_informative_feature_makes_entropy_significantly_worse(
    trained: Trained, name: str
) -> None:
    rows = trained.held_out
    assert len(set(rows.request_ids)) == 2400

    low, _ = difference_in_ne(
        trained.pctr(rows.inputs), trained.pctr(trained.shuffled(name, seed=11)), rows
    )

    assert low > 0


@pytest.mark.parametrize("name", [feature["name"] for feature in NOISE])
def test_shuffling_a_feature_that_means_nothing_changes_little(trained: Trained, name: str) -> None:
    """So the test above does not call everything informative."""
    rows = trained.held_out

    low, high = difference_in_ne(
        trained.pctr(rows.inputs), trained.pctr(trained.shuffled(name, seed=11)), rows
    )

    assert -0.005 < low < 0.003
    assert high < 0.01
