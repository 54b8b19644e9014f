from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modern.engine import staging
from modern.engine.config import EngineConfig
from modern.engine.engine import Engine
from modern.transformer.forward import logits_of
from replay.errors import ConfigError
from tests.modern.engine.ranked import CLOSE, MODEL, exact, largest, ragged, rows_of


def test_requests_of_any_shape_get_the_model_s_own_logits() -> None:
    inputs = ragged()

    found = Engine(MODEL, EngineConfig(max_requests=5)).logits(inputs)

    assert largest(found, exact(inputs)) < CLOSE
    assert largest(found, logits_of(MODEL, inputs)) < CLOSE
    assert found.std(axis=0).min() > 0.1, "logits that are all alike would show nothing"


@pytest.mark.parametrize(("max_requests", "max_candidates"), [(1, 7), (3, 64), (32, 16_384)])
def test_what_a_request_is_batched_with_does_not_matter(
    max_requests: int, max_candidates: int
) -> None:
    """Alone, in another order, cut into pieces: the same but for the last bits."""
    inputs = ragged()
    whole = Engine(MODEL, EngineConfig()).logits(inputs)
    order = np.random.default_rng(3).permutation(len(inputs))
    config = EngineConfig(max_requests=max_requests, max_candidates=max_candidates)

    shuffled = Engine(MODEL, config).logits(inputs.take(order))

    assert largest(shuffled, whole[rows_of(inputs, order)]) < CLOSE


def test_a_buffer_used_before_leaves_nothing_behind() -> None:
    """Padding of a later pass holds no steps and candidates of an earlier one."""
    engine = Engine(MODEL, EngineConfig())
    first, second = ragged(8, seed=1), ragged(8, seed=2)
    fresh = Engine(MODEL, EngineConfig()).logits(second)

    engine.logits(first)
    found = engine.logits(second)

    assert found.tobytes() == fresh.tobytes()


def test_one_candidate_no_history_and_no_requests() -> None:
    inputs = ragged(3)
    engine = Engine(MODEL, EngineConfig())
    one = replace(
        inputs.take(np.array([1])),
        candidate_real=inputs.candidate_real[:1],
        candidate_codes=inputs.candidate_codes[:1],
        candidate_offsets=np.array([0, 1]),
    )

    assert largest(engine.logits(one), exact(one)) < CLOSE
    nobody = inputs.take(np.zeros(0, dtype=np.int64))
    assert engine.logits(nobody).shape == (0, 2)


def test_padding_that_is_seen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above would notice: padded steps that weigh as much as real ones."""
    inputs = ragged()
    fill = staging.Staging.fill

    def seen(self: staging.Staging, *arguments: Any) -> None:
        fill(self, *arguments)
        weights = self._views["step_weight"]
        weights[weights == 0] = 1

    monkeypatch.setattr(staging.Staging, "fill", seen)

    found = Engine(MODEL, EngineConfig()).logits(inputs)

    assert largest(found, exact(inputs)) > 10 * CLOSE


def test_steps_are_read_by_their_place_wherever_they_were_logged() -> None:
    """Steps with gaps between them, and in another order than they were logged in."""
    inputs = ragged()
    rng = np.random.default_rng(5)
    place = np.where(rng.random(len(inputs.step_place)) < 0.6, inputs.step_place, -1)
    backwards = replace(inputs, step_place=np.where(place < 0, -1, 1000 - place).astype(np.int32))

    found = Engine(MODEL, EngineConfig()).logits(backwards)

    assert largest(found, logits_of(MODEL, backwards)) < CLOSE


def test_counts_say_how_much_was_padding() -> None:
    inputs = ragged()
    engine = Engine(MODEL, EngineConfig())

    engine.logits(inputs)

    counts = engine.counts
    assert (counts.requests, counts.candidates) == (len(inputs), inputs.num_candidates)
    assert counts.candidates < counts.slots < 2 * counts.candidates
    assert sum(counts.by_bucket.values()) == counts.passes


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"precision": "fp4"}, "no precision is called 'fp4'"),
        ({"mode": "graph"}, "records a CUDA graph"),
        ({"precision": "tf32"}, "a CPU has no tf32"),
        ({"device": "cuda", "mode": "fused_graph", "precision": "int8"}, "have no int8 here"),
        ({"max_requests": 0}, "admits nothing"),
        ({"precision": "int8", "cache_bytes": 1}, "not kept in int8"),
    ],
)
def test_a_configuration_that_can_not_run_is_refused(
    settings: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        EngineConfig(**settings)  # type: ignore[arg-type]
