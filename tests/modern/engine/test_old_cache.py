from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modern.engine.config import EngineConfig
from modern.engine.engine import Engine, weights_digest
from modern.engine.old_cache import old_steps
from replay.errors import ConfigError
from tests.modern.engine.ranked import CLOSE, MODEL, SHAPE, exact, largest, ragged

# One entry: 48 slots of 5 x 32 + 1 channels in float32.
ENTRY = 4 * 48 * 161


def an_engine(*, entries: int = 100, **settings: object) -> Engine:
    config = EngineConfig(cache_bytes=entries * ENTRY, **settings)  # type: ignore[arg-type]
    return Engine(MODEL, config, max_old=SHAPE.history)


def test_what_is_looked_up_is_what_would_be_computed() -> None:
    inputs = ragged()
    engine = an_engine()
    with_old = int((old_steps(inputs) > 0).sum())

    first = engine.logits(inputs)
    again = engine.logits(inputs)

    assert engine.cache is not None
    assert with_old > 3
    assert (engine.cache.counts.misses, engine.cache.counts.hits) == (with_old, with_old)
    assert again.tobytes() == first.tobytes()
    assert largest(first, exact(inputs)) < CLOSE


def test_a_user_s_changed_old_step_is_another_entry() -> None:
    inputs = ragged()
    engine = an_engine()
    engine.logits(inputs)
    changed = inputs.step_real.copy()
    place = int(np.flatnonzero((inputs.step_old != 0) & (inputs.step_place >= 0))[0])
    changed[place] += 1
    moved = replace(inputs, step_real=changed)

    found = engine.logits(moved)

    assert engine.cache is not None
    assert engine.cache.counts.misses == int((old_steps(inputs) > 0).sum()) + 1
    assert largest(found, exact(moved)) < CLOSE


def test_entries_make_room_for_others_and_results_stay_right() -> None:
    engine = an_engine(entries=5, max_requests=4)

    for seed in (1, 2, 1):
        inputs = ragged(9, seed=seed)
        assert largest(engine.logits(inputs), exact(inputs)) < CLOSE

    assert engine.cache is not None
    assert engine.cache.counts.evictions > 5
    assert engine.cache.arena_SOC.nbytes <= 5 * ENTRY


def test_a_cache_too_small_for_a_pass_is_refused() -> None:
    with pytest.raises(ConfigError, match="a pass may need 32 of them"):
        an_engine(entries=32)


def test_longer_old_segments_than_announced_are_encoded_in_the_pass() -> None:
    inputs = ragged()
    engine = Engine(MODEL, EngineConfig(cache_bytes=8 << 20), max_old=2)

    found = engine.logits(inputs)

    assert engine.cache is not None
    assert old_steps(inputs).max() > 2 and engine.cache.counts.misses == 0
    assert largest(found, exact(inputs)) < CLOSE


def test_other_weights_have_other_digests() -> None:
    import copy

    other = copy.deepcopy(MODEL)
    other.heads.bias.data[0] += 1

    assert weights_digest(other) != weights_digest(MODEL)
    assert weights_digest(copy.deepcopy(MODEL)) == weights_digest(MODEL)


def test_bf16_looks_up_what_it_computed() -> None:
    inputs = ragged()
    engine = an_engine(precision="bf16")

    first = engine.logits(inputs)

    assert engine.logits(inputs).tobytes() == first.tobytes()
    assert largest(first, Engine(MODEL, EngineConfig(precision="bf16")).logits(inputs)) < 0.2
