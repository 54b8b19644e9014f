from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modern.features.columns import Columns
from modern.transformer.config import HistoryConfig
from modern.transformer.history import StepTimes, step_places, step_times, step_weights
from replay.errors import ConfigError
from tests.builders import a_request, a_step, at, batch_of


def times_of(*histories: list[datetime | None], logged_at: str = "2019-11-30 15:30") -> StepTimes:
    batch = batch_of(
        *(
            a_request(f"r-{i}", logged_at=at(logged_at), history=[a_step(at=t) for t in history])
            for i, history in enumerate(histories)
        )
    )
    return step_times(Columns(batch), HistoryConfig(recent_hours=24.0))


def test_a_recent_steps_age_counts_to_the_request_an_old_ones_to_the_midnight_of_its_day() -> None:
    found = times_of([at("2019-11-28 22:00"), at("2019-11-29 00:00"), at("2019-11-30 15:00"), None])

    np.testing.assert_array_equal(found.old, [1, 0, 0, 0])
    np.testing.assert_array_equal(found.age_hours, np.float32([26.0, 39.5, 0.5, np.nan]))


def test_an_old_step_is_the_same_for_every_request_of_a_day() -> None:
    steps = [at("2019-11-02 22:17:05.25"), at("2019-11-27 01:00")]

    early, late = (times_of(steps, logged_at=f"2019-11-30 {t}") for t in ("00:00", "23:59:59.9"))

    assert early.old.all() and late.old.all()
    np.testing.assert_array_equal(early.age_hours, late.age_hours)


def test_a_step_after_the_request_has_no_negative_age() -> None:
    assert times_of([at("2019-12-24 00:00")]).age_hours[0] == 0


def known(ages: list[float], old: list[int] | None = None) -> StepTimes:
    return StepTimes(
        age_hours=np.float32(ages), old=np.array(old or [0] * len(ages), dtype=np.int32)
    )


def weights(times: StepTimes, keys: list[int], *, hours: float = 1.0) -> list[float]:
    config = HistoryConfig(collapse_by=("k",), collapse_hours=hours)
    offsets = np.array([0, len(keys)])
    return step_weights(offsets, times, {"k": np.array(keys)}, config).tolist()


def test_a_run_of_the_same_becomes_its_newest_step_which_weighs_as_much() -> None:
    assert weights(known([9.0, 8.5, 8.0, 2.0]), [5, 5, 5, 5]) == [0, 0, 3, 1]


def test_another_value_between_does_not_end_a_run_but_is_no_part_of_it() -> None:
    assert weights(known([3.0, 2.5, 2.0]), [5, 6, 5]) == [0, 1, 2]


def test_an_unknown_time_follows_nothing_and_segments_are_kept_apart() -> None:
    assert weights(known([3.0, np.nan, 2.9]), [5, 5, 5]) == [1, 1, 1]
    assert weights(known([3.0, 2.9], old=[1, 0]), [5, 5]) == [1, 1]


def test_without_keys_every_step_stands_for_itself() -> None:
    found = step_weights(np.array([0, 2]), known([1.0, 1.0]), {}, HistoryConfig())

    assert found.tolist() == [1.0, 1.0]


def places(old: list[int], weight: list[float], *, max_old: int, max_recent: int) -> list[int]:
    config = HistoryConfig(max_old=max_old, max_recent=max_recent)
    return step_places(
        np.array([0, len(old)]), np.array(old, np.int32), np.float32(weight), config
    ).tolist()


def test_of_each_segment_the_newest_are_read() -> None:
    assert places([1, 1, 1, 0, 0], [1] * 5, max_old=2, max_recent=1) == [-1, 0, 1, -1, 2]


def test_what_stands_behind_another_takes_no_place() -> None:
    assert places([0, 0, 0], [0, 2, 1], max_old=1, max_recent=2) == [-1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), max_size=12), st.integers(0, 3))
def test_new_steps_never_change_which_old_ones_are_read(
    steps: list[tuple[int, int]], more: int
) -> None:
    """What is precomputed of the old segment stays right whatever happens afterwards."""
    old = [segment for segment, _ in steps]
    weight = [float(w) for _, w in steps]

    before = places(old, weight, max_old=3, max_recent=2)
    after = places([*old, *[0] * more], [*weight, *[1.0] * more], max_old=3, max_recent=2)

    def read(found: list[int]) -> list[bool]:
        return [p >= 0 for p, segment in zip(found, old, strict=False) if segment]

    assert read(after[: len(old)]) == read(before)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.lists(st.floats(0, 50, width=32), min_size=12, max_size=12),
)
def test_weights_add_up_to_the_logged_steps(keys: list[int], ages: list[float]) -> None:
    aged = sorted(ages[: len(keys)], reverse=True)

    found = weights(known(aged), keys, hours=5.0)

    assert sum(found) == len(keys)


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"recent_hours": -1.0}, "negative time"),
        ({"collapse_hours": float("nan")}, "negative time"),
        ({"max_old": 0, "max_recent": 0}, "max_old is 0"),
        ({"age_edges_hours": (1.0, 1.0)}, "do not ascend"),
    ],
)
def test_a_history_that_can_not_be_read_is_refused(settings_: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        HistoryConfig(**settings_)  # type: ignore[arg-type]


def test_attention_starts_from_how_recent_a_step_is() -> None:
    config = HistoryConfig(recency_power=2.0, recent_hours=99.0)

    found = step_weights(np.array([0, 3]), known([24.0, 4.0, np.nan]), {}, config)

    np.testing.assert_allclose(found, [1.0, 25.0, 0.0625], rtol=1e-6)


def test_a_collapsed_step_counts_as_many_as_it_stands_for_and_as_recent_as_it_is() -> None:
    config = HistoryConfig(collapse_by=("k",), recency_power=1.0)
    times = known([3.5, 3.0, 1.0])

    found = step_weights(np.array([0, 3]), times, {"k": np.array([1, 1, 2])}, config)

    np.testing.assert_allclose(found, [0.0, 2 * 25 / 4, 25 / 2], rtol=1e-6)
