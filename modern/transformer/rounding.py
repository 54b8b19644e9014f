"""How far float32 moves each module's output: measured against float64 when training ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modern.transformer.forward import run_forward
from modern.transformer.inputs import ModelInputs, concat_inputs
from modern.transformer.layout import SideLayout, TokenLayout
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import ModulePlace
from modern.transformer.tokens import FURTHEST, RealValues

# Enough for several values of every feature; a pass over them in both precisions takes a second.
CANDIDATES = 2048
# The worst of the candidates measured stands for the worst of a log of millions. Each error adds
# up many roundings, so its tail is thin: over the 424,680 candidates of 2019-11-30 of the Open
# Bandit log no module erred more than 1.42 times as much.
MARGIN = 4.0
# A step in so many stands for several, as a collapsed one does.
HEAVY_SHARE = 0.1
HEAVIEST = 20


def measure_rounding(
    model: RankingTransformer,
    inputs: ModelInputs,
    layout: TokenLayout,
    *,
    places: Sequence[ModulePlace],
) -> Mapping[str, float]:
    """The largest error of each real module's output, in its own unit, before any margin.

    Both errors count: of the module alone (given its float32 inputs), and of everything
    up to it.

    Args:
        model: In evaluation mode.
        inputs: Some real requests; as many again are made from them with extreme, missing
            and unusual values.
        layout: Which tokens the model reads.
        places: The modules.
    """
    last = int(np.searchsorted(inputs.candidate_offsets, CANDIDATES, side="right"))
    real = inputs.take(np.arange(min(len(inputs), max(last, 1))))
    requests = concat_inputs([real, _extremes_of(real, model, layout)])
    wide = deepcopy(model).double()
    narrow = run_forward(model, requests, record=places).recorded
    total = run_forward(wide, requests, record=places).recorded
    given = {place: narrow[place.path] for place in places}
    local = run_forward(wide, requests, record=places, given=given).recorded
    return {
        place.path: max(
            _largest(narrow[place.path] - exact[place.path]) for exact in (total, local)
        )
        for place in places
        if not place.discrete
    }


def _extremes_of(
    inputs: ModelInputs, model: RankingTransformer, layout: TokenLayout
) -> ModelInputs:
    """Each value left, missing, or as far out as tokens go; codes drawn from all there are."""
    rng = np.random.default_rng(0)
    request_real = _extreme(inputs.request_real, model.request_tokens.real, rng)
    candidate_real = _extreme(inputs.candidate_real, model.candidate_tokens.real, rng)
    drawn = replace(
        inputs,
        request_real=request_real,
        candidate_real=candidate_real,
        request_codes=_codes(inputs.request_codes, layout.request, rng),
        candidate_codes=_codes(inputs.candidate_codes, layout.candidate, rng),
    )
    if not model.reads_history:
        return drawn
    heavy = rng.random(len(inputs.step_weight)) < HEAVY_SHARE
    times = np.where(heavy, rng.integers(1, HEAVIEST, size=len(heavy)), 1)
    return replace(
        drawn,
        step_real=_extreme(inputs.step_real, model.step_tokens.real, rng),
        step_codes=_codes(inputs.step_codes, layout.step, rng),
        step_weight=(inputs.step_weight * times).astype(np.float32),
    )


def _extreme(
    values: NDArray[np.float32], tokens: RealValues, rng: np.random.Generator
) -> NDArray[np.float32]:
    mean, scale = tokens.mean.numpy(), tokens.scale.numpy()
    far = mean + scale * rng.choice([-FURTHEST, FURTHEST], size=values.shape)
    kind = rng.integers(3, size=values.shape)
    moved: NDArray[np.float32] = np.select([kind == 0, kind == 1], [values, far], np.nan).astype(
        np.float32
    )
    return moved


def _codes(
    codes: NDArray[np.int64], side: SideLayout, rng: np.random.Generator
) -> NDArray[np.int64]:
    most = np.array(side.cardinalities, dtype=np.int64)
    return rng.integers(most, size=codes.shape, dtype=np.int64)


def _largest(difference: NDArray[np.floating]) -> float:
    """Steps that are not read are NaN on both sides."""
    return float(np.nanmax(np.abs(difference), initial=0.0))
