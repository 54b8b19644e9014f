from __future__ import annotations

import numpy as np
import pytest

from parity.planting import Plant, PlantedStack, available, known_kinds, parse_plant, plant
from replay.capabilities import Plants
from replay.errors import ConfigError, StackError
from tests.toys import ToyStack, toy_batch


def same(one, other) -> bool:
    """Equal, missing where the other is."""
    return np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize(
    "text", ["scale:features.price", "scale=86400:features.price", "swap_columns=a.b:c.d"]
)
def test_the_text_of_a_plant_gives_it_back(text: str) -> None:
    one = parse_plant(text)

    assert str(one) == text
    as_json = one.to_json()
    assert parse_plant(f"{as_json['kind']}:{as_json['checkpoint']}") == one


@pytest.mark.parametrize("text", ["scale", ":features.price", "scale:", ""])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not KIND:CHECKPOINT"):
        parse_plant(text)


def test_a_plant_is_recorded_as_produced_and_carried_on() -> None:
    batch, stack = toy_batch(), ToyStack()
    planted = plant(stack, [parse_plant("scale=2:features.affinity")])

    bare = stack.score(batch, capture=["features.affinity", "right", "logit"])
    changed = planted.score(batch, capture=["features.affinity", "right", "logit"])

    assert same(changed["features.affinity"], bare["features.affinity"] * 2)
    present = ~np.isnan(bare["features.affinity"])
    assert same(changed["right"][present, 0], bare["right"][present, 0] * 2)
    assert not np.array_equal(changed["logit"], bare["logit"])


def test_what_is_given_wins_over_the_plant_and_the_plant_is_still_recorded() -> None:
    batch, stack = toy_batch(), ToyStack()
    names = ["features.affinity", "right"]
    bare = stack.score(batch, capture=names)

    changed = plant(stack, [parse_plant("scale=2:features.affinity")]).score(
        batch, capture=names, given={"features.affinity": bare["features.affinity"]}
    )

    assert same(changed["features.affinity"], bare["features.affinity"] * 2)
    assert np.array_equal(changed["right"], bare["right"])


def test_each_plant_sees_what_the_one_before_it_made() -> None:
    batch, stack = toy_batch(), ToyStack()
    texts = ["scale=4:logit", "scale=2:left", "scale=3:left"]

    changed = plant(stack, [parse_plant(text) for text in texts]).score(
        batch, capture=["left", "logit"]
    )

    bare = stack.score(batch, capture=["left"])
    left = (bare["left"] * np.float32(2)) * np.float32(3)
    assert np.array_equal(changed["left"], left)
    carried = stack.score(batch, capture=["logit"], given={"left": left})
    assert np.array_equal(changed["logit"], carried["logit"] * 4)


def test_independent_plants_share_a_pass_and_dependent_ones_do_not() -> None:
    batch = toy_batch(3)
    places = ["features.hour", "features.age_days", "features.price"]
    stack = ToyStack()
    plant(stack, [Plant(kind="scale", checkpoint=name) for name in places]).score(
        batch, capture=["rank"]
    )
    assert stack.passes == 2

    stack = ToyStack()
    plant(
        stack, [Plant(kind="scale", checkpoint=n) for n in ("features.price", "left", "logit")]
    ).score(batch, capture=["rank"])
    assert stack.passes == 4


def test_a_plant_that_can_not_matter_costs_no_pass() -> None:
    batch, stack = toy_batch(3), ToyStack()

    plant(stack, [parse_plant("scale:logit")]).score(batch, capture=["features.hour"])

    assert stack.passes == 1


def test_a_swap_reads_what_its_partner_carries_on() -> None:
    batch, stack = toy_batch(), ToyStack()
    plants = [
        parse_plant("swap_columns=features.affinity:features.price"),
        parse_plant("scale=2:features.affinity"),
    ]

    changed = plant(stack, plants).score(batch, capture=["features.price", "features.affinity"])

    bare = stack.score(batch, capture=["features.affinity"])["features.affinity"]
    assert same(changed["features.affinity"], bare * 2)
    # In execution order price is decided first, from the affinity as produced.
    assert same(changed["features.price"], bare)


def test_a_real_fault_goes_into_a_copy_of_the_stack() -> None:
    batch, stack = toy_batch(), ToyStack()
    assert isinstance(stack, Plants)

    planted = plant(stack, [{"kind": "weight", "checkpoint": "left"}])

    assert not isinstance(planted, PlantedStack)
    bare = stack.score(batch, capture=["left"])["left"]
    assert np.allclose(planted.score(batch, capture=["left"])["left"], bare * 1.01)


def test_real_faults_and_values_go_together() -> None:
    batch, stack = toy_batch(), ToyStack()

    planted = plant(
        stack,
        [
            {"kind": "weight", "checkpoint": "left"},
            {"kind": "scale=2", "checkpoint": "features.affinity"},
        ],
    )

    bare = stack.score(batch, capture=["left", "features.affinity"])
    trace = planted.score(batch, capture=["left", "features.affinity"])
    assert same(trace["features.affinity"], bare["features.affinity"] * 2)
    assert not np.allclose(trace["left"], bare["left"] * 1.01)


def test_no_plants_leave_the_stack_alone() -> None:
    stack = ToyStack()

    assert plant(stack, []) is stack


def test_a_planted_stack_keeps_the_contract() -> None:
    batch = toy_batch(3)
    planted = plant(ToyStack(), [parse_plant("scale:left")])

    assert planted.name == "toy"
    assert planted.identity() == ToyStack().identity()
    with pytest.raises(StackError, match="no checkpoint is called 'x'"):
        planted.score(batch, capture=["x"])
    with pytest.raises(StackError, match="declared float32"):
        planted.score(batch, capture=["left"], given={"left": np.zeros(1)})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scael:left", r"no bug is called 'scael' \(known for 'toy': weight, bucket_edge_side, c"),
        ("scale:lefft", r"'toy' has no checkpoint 'lefft' \(known: features.hour, "),
        ("weight:right", "'toy' can have 'weight' at: left"),
        ("weight=2:left", "it takes no argument"),
        ("off_by_one:left", r"'off_by_one' can not be planted at 'left' \(possible at: features"),
        ("hour_shift:features.price", r"possible at: features.hour\)"),
        ("scale=much:left", "scale=much is no number"),
        ("permute_candidates=2:left", "takes no argument"),
        ("permute_candidates:features.hour", "can not be planted at 'features.hour'"),
        ("swap_columns=logit:features.price", "can not take the values of 'logit'"),
    ],
)
def test_what_can_not_be_planted_is_an_error_that_offers_what_can(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        plant(ToyStack(), [parse_plant(text)])


def test_the_list_shows_real_faults_first_and_every_kind_where_it_fits() -> None:
    stack = ToyStack(unsettable=["features.price"])

    kinds = {kind.kind: kind for kind in available(stack.checkpoints, stack.faults())}

    assert list(kinds)[:2] == ["weight", "bucket_edge_side"]
    assert (kinds["weight"].where, kinds["weight"].checkpoints) == ("artifact", ("left",))
    assert kinds["hour_shift"].checkpoints == ("features.hour",)
    assert kinds["missing_zero_swap"].checkpoints == ("features.age_days", "features.affinity")
    assert "gbdt" not in str(kinds["off_by_one"].checkpoints)
    assert set(kinds["off_by_one"].checkpoints) == {
        "features.price_bucket", "features.category", "encoded.category", "encoded.bucket", "rank",
    }  # fmt: skip


def test_every_place_on_the_list_can_be_planted_and_keeps_its_dtype() -> None:
    batch, stack = toy_batch(4), ToyStack()
    listed = available(stack.checkpoints, stack.faults())
    assert {kind.kind for kind in listed} >= set(known_kinds()) - {"day_shift", "transposed"}

    for kind in listed:
        for place in kind.checkpoints:
            trace = plant(stack, [Plant(kind=kind.kind, checkpoint=place)]).score(
                batch, capture=list(stack.checkpoints)
            )
            assert trace[place].dtype == stack.checkpoints[place].dtype
