"""The transformer once more: in float64 beside float32, and on another number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from modern.transformer.stack import TransformerStack, open_stack
from replay.capabilities import Recomputes, Varies
from replay.errors import StackError
from tests.builders import random_batch
from tests.modern.small_transformer import write_artifact

BATCH = random_batch(num_requests=12, candidates=5, seed=9)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> TransformerStack:
    return open_stack(write_artifact(tmp_path_factory.mktemp("numerics") / "artifact"))


def real(stack: TransformerStack) -> list[str]:
    return [
        name
        for name, one in stack.checkpoints.items()
        if np.dtype(one.dtype).kind == "f" and one.stage in {"layer", "output"}
    ]


def test_float64_is_within_what_is_declared_and_is_not_float32(stack: TransformerStack) -> None:
    names = real(stack)
    narrow = stack.score(BATCH, capture=names)
    given = {name: narrow[name] for name in names if stack.checkpoints[name].settable}

    wide = stack.recompute(BATCH, names, given)

    moved = 0
    for name in names:
        rounding = stack.checkpoints[name].rounding
        apart = np.nan_to_num(np.abs(wide[name] - narrow[name]))
        room = rounding.absolute + rounding.ulps * np.spacing(np.abs(np.nan_to_num(narrow[name])))
        assert np.all(apart <= room), name
        moved += int(apart.any())
    assert moved > len(names) / 2
    assert isinstance(stack, Recomputes)


def test_a_variation_changes_last_bits_at_most(stack: TransformerStack) -> None:
    names = real(stack)
    plain, varied = stack.score(BATCH, capture=names), stack.vary("2 threads", BATCH, names)

    for name in names:
        np.testing.assert_allclose(varied[name], plain[name], rtol=1e-4, atol=1e-5)
    assert isinstance(stack, Varies)
    with pytest.raises(StackError, match="nothing is called"):
        stack.vary("in another order", BATCH, names)
    with pytest.raises(StackError, match="'rank' is discrete"):
        stack.recompute(BATCH, ["rank"], {})
