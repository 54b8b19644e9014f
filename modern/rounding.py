"""How far float32 moves each module's output: measured against float64 when training ends."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np

from modern.forward import run_forward
from modern.tokens import FURTHEST, TokenInputs, TokenLayout
from modern.transformer import Transformer

# Enough for several values of every feature; a pass over them in both precisions takes a second.
CANDIDATES = 2048
# The worst of the candidates measured stands for the worst of a log of millions. Each error adds
# up many roundings, so its tail is thin: over the 424,680 candidates of 2019-11-30 of the Open
# Bandit log no module erred more than 1.42 times as much.
MARGIN = 4.0


def measure_rounding(
    model: Transformer, inputs: TokenInputs, layout: TokenLayout, *, paths: tuple[str, ...]
) -> Mapping[str, float]:
    """The largest error of each module's output, in its own unit, before any margin.

    Both errors count: of the module alone (given its float32 inputs), and of everything
    up to it.

    Args:
        model: In evaluation mode.
        inputs: Some real candidates; as many again are made from them with extreme, missing
            and unusual values.
        layout: Which tokens the model reads.
        paths: The modules.
    """
    rows = np.arange(min(len(inputs), CANDIDATES))
    real = TokenInputs(real=inputs.real[rows], codes=inputs.codes[rows])
    candidates = _joined(real, _extremes_of(real, model, layout))
    wide = deepcopy(model).double()
    narrow = run_forward(model, candidates, record=paths).recorded
    total = run_forward(wide, candidates, record=paths).recorded
    local = run_forward(wide, candidates, record=paths, given=narrow).recorded
    return {
        path: max(_largest(narrow[path] - exact[path]) for exact in (total, local))
        for path in paths
    }


def _extremes_of(inputs: TokenInputs, model: Transformer, layout: TokenLayout) -> TokenInputs:
    """Each value left, missing, or as far out as tokens go; codes drawn from all there are."""
    rng = np.random.default_rng(0)
    mean, scale = model.tokens.mean.numpy(), model.tokens.scale.numpy()
    far = mean + scale * rng.choice([-FURTHEST, FURTHEST], size=inputs.real.shape)
    kind = rng.integers(3, size=inputs.real.shape)
    real = np.select([kind == 0, kind == 1], [inputs.real, far], np.nan).astype(np.float32)
    codes = rng.integers(
        np.array(layout.cardinalities, dtype=np.int64), size=inputs.codes.shape, dtype=np.int64
    )
    return TokenInputs(real=real, codes=codes)


def _joined(first: TokenInputs, second: TokenInputs) -> TokenInputs:
    return TokenInputs(
        real=np.concatenate([first.real, second.real]),
        codes=np.concatenate([first.codes, second.codes]),
    )


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max(initial=0.0))
