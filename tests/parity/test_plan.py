from __future__ import annotations

import pytest

from parity.plan import Plan, plan_from_json
from parity.tolerance import PlannedTolerance
from replay.errors import ConfigError

STATED = {
    "logit": PlannedTolerance(kind="absolute", value=1e-4, why="floor"),
    "features.*": PlannedTolerance(kind="ulps", value=2, why="two libraries"),
}


def test_the_digest_does_not_depend_on_the_order_of_entries() -> None:
    forwards = Plan(tolerances=STATED, left_out={"a": "x", "b": "y"})
    backwards = Plan(tolerances=dict(reversed(STATED.items())), left_out={"b": "y", "a": "x"})

    assert forwards.digest == backwards.digest
    assert forwards.digest != Plan(tolerances=STATED).digest


def test_plain_values_give_the_plan_back() -> None:
    plan = Plan(
        outputs="statistical",
        same_training=False,
        renames={"net.head": "logit"},
        tolerances=STATED,
        left_out={"encoded.*": "another vocabulary"},
        min_coverage=0.5,
        top_k=10,
    )

    assert plan_from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"outputs": "loose"}, "outputs is 'loose'"),
        ({"min_coverage": 1.5}, "min_coverage is 1.5"),
        ({"min_coverage": float("nan")}, "min_coverage is nan"),
        ({"top_k": 0}, "top_k is not positive"),
        ({"left_out": {"x": " "}}, "'x' is left out without a reason"),
        ({"renames": {"a": "x", "b": "x"}}, "two checkpoints are renamed to the same name"),
        ({"tolerances": {"x": {"kind": "ulps", "value": 1, "why": ""}}}, "has no reason"),
        ({"tolerances": {"x": {"kind": "cosine", "value": 1, "why": "w"}}}, "kind 'cosine'"),
        ({"tolerances": {"x": {"kind": "ulps", "value": -1, "why": "w"}}}, "is -1"),
        ({"tolerances": {"x": {"kind": "ulps", "value": float("nan"), "why": "w"}}}, "is nan"),
        (
            {"tolerances": {"x": {"kind": "ulps", "value": 1}}},
            r"has the entries \['kind', 'value'\]",
        ),
        ({"tolerence": {}}, "no entry 'tolerence'"),
    ],
)
def test_a_plan_that_can_not_be_followed_is_refused(value, says) -> None:
    with pytest.raises(ConfigError, match=says):
        plan_from_json(value)
