"""The plan: which checkpoints are compared, how tightly, which are left out and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from parity.noise import sampled_from_json, sampled_json
from parity.tolerance import KINDS, Planned, PlannedTolerance
from replay.digests import digest_of_json
from replay.errors import ConfigError

Outputs = Literal["bounded", "statistical", "envelope"]

# Probed requests that diverge, and as many that agree as control: at 50 candidates each a probe
# costs about as much as a quarter of a shard (a decision; a rare place keeps `per_place` of them).
PROBED = 64
PER_PLACE = 16
EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """How much a cause may move before it matters; more is *material*, less is only *different*.

    Attributes:
        rank_flips: Share of the probed candidates whose rank it moves.
        pctr: Mean absolute change of the probability. By default less than half a float32 unit in
            the last place of a probability near 1, which no output of that type can show.
        money: Change of eCPM, relative to the reference's mean. By default one in ten million.
    """

    rank_flips: float = 0.0
    pctr: float = 2.0**-25
    money: float = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a comparison compares, as plain data; its digest stands in every report.

    Attributes:
        outputs: "bounded": every aligned checkpoint by its tolerance. "statistical": the model
            itself changed, so what both sides share before the layers (log, features,
            encodings, trees) is compared as usual and outputs by metrics over outcomes.
            "envelope": the same model in another precision: what both share before the layers is
            compared as usual, layers and outputs where a tolerance is stated, and the outputs by
            how they are moved over all requests.
        same_training: Both artifacts must carry the same training's id.
        renames: A challenger's checkpoint to the reference's name for it.
        tolerances: Name or glob of reference checkpoints to a stated or measured tolerance.
        measured_on: Digest of the reference's artifact that tolerances were measured on; "" where
            none were.
        left_out: Name or glob of reference checkpoints to the reason why it is not compared.
        min_coverage: Share of the reference's checkpoints, those left out with a reason apart,
            that must be compared for parity. All of them unless the plan says otherwise: an
            unseen difference is not agreement.
        material: What a cause has to move to be material.
        top_k: Candidates that count as shown, for the overlap of rankings and what they are worth.
        slices: Logged fields whose every value is a slice of its own, such as
            "candidate.advertiser_id"; those of few values are slices without being named.
        probed: At most so many diverging requests are probed, and as many agreeing ones.
        per_place: Of them, kept for each place where divergence begins.
        examples: Kept for each checkpoint.
    """

    outputs: Outputs = "bounded"
    same_training: bool = True
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tolerances: Mapping[str, Planned] = field(default_factory=lambda: MappingProxyType({}))
    measured_on: str = ""
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    min_coverage: float = 1.0
    material: Material = field(default_factory=Material)
    top_k: int = 3
    slices: tuple[str, ...] = ()
    probed: int = PROBED
    per_place: int = PER_PLACE
    examples: int = EXAMPLES

    def __post_init__(self) -> None:
        """Refuse a plan that can not be followed.

        Raises:
            ConfigError: Naming the entry.
        """
        _check(self)
        for name in ("renames", "tolerances", "left_out"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        object.__setattr__(self, "slices", tuple(self.slices))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; `plan_from_json` is its inverse."""
        return {
            "outputs": self.outputs,
            "same_training": self.same_training,
            "renames": dict(self.renames),
            "tolerances": {
                glob: {"kind": stated.kind, "value": stated.value, "why": stated.why}
                if isinstance(stated, PlannedTolerance)
                else sampled_json(stated)
                for glob, stated in self.tolerances.items()
            },
            "measured_on": self.measured_on,
            "left_out": dict(self.left_out),
            "min_coverage": self.min_coverage,
            "material": {
                "rank_flips": self.material.rank_flips,
                "pctr": self.material.pctr,
                "money": self.material.money,
            },
            "top_k": self.top_k,
            "slices": list(self.slices),
            "probed": self.probed,
            "per_place": self.per_place,
            "examples": self.examples,
        }

    @property
    def digest(self) -> str:
        """The same whatever order its entries were written in."""
        return digest_of_json(self.to_json())


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """The plan that plain values describe; absent keys take their defaults.

    Raises:
        ConfigError: An unknown key, or an entry that can not be followed.
    """
    unknown = sorted(set(value) - set(Plan.__dataclass_fields__))
    if unknown:
        known = ", ".join(Plan.__dataclass_fields__)
        raise ConfigError(
            f"the plan has no entry {unknown[0]!r} (known: {known}).",
            where="the plan",
            fix="remove it, or correct its name",
        )
    stated: dict[str, Planned] = {}
    for glob, entry in value.get("tolerances", {}).items():
        if entry.get("kind") in {"channel_noise", "envelope"}:
            stated[glob] = _sampled(glob, entry)
            continue
        extra = set(entry) - {"kind", "value", "why"}
        if extra or not {"kind", "why"} <= set(entry):
            raise ConfigError(
                f"the tolerance of {glob!r} has the entries {sorted(entry)}.",
                where="the plan's tolerances",
                fix="give kind, value and why",
            )
        stated[glob] = PlannedTolerance(**entry)
    material = Material(**value.get("material", {}))
    return Plan(**{**value, "tolerances": stated, "material": material})


def _sampled(glob: str, entry: Mapping[str, Any]) -> Planned:
    try:
        return sampled_from_json(entry)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the tolerance of {glob!r} can not be used: {error}.",
            where="the plan's tolerances",
            fix="measure again: parity calibrate",
        ) from error


def _check(plan: Plan) -> None:
    _require(
        plan.outputs in {"bounded", "statistical", "envelope"},
        f"outputs is {plan.outputs!r}.",
        "outputs",
        "use 'bounded', 'statistical' or 'envelope'",
    )
    _require(
        0.0 <= plan.min_coverage <= 1.0,
        f"min_coverage is {plan.min_coverage}.",
        "min_coverage",
        "give a share between 0 and 1",
    )
    for name in ("top_k", "probed", "per_place"):
        _require(getattr(plan, name) >= 1, f"{name} is not positive.", name, "give at least 1")
    _require(plan.examples >= 0, "examples is negative.", "examples", "give 0 or more")
    named_twice = len(plan.renames) != len(set(plan.renames.values()))
    _require(
        not named_twice,
        "two checkpoints are renamed to the same name.",
        "renames",
        "keep one of them",
    )
    for glob, why in plan.left_out.items():
        _require(
            bool(why.strip()),
            f"{glob!r} is left out without a reason.",
            "left_out",
            "say why it may differ unseen",
        )
    for glob, stated in plan.tolerances.items():
        if not isinstance(stated, PlannedTolerance):
            continue
        _require(
            stated.kind in KINDS,
            f"the tolerance of {glob!r} is of kind {stated.kind!r} (known: {', '.join(KINDS)}).",
            "tolerances",
            "use a known kind",
        )
        _require(
            bool(stated.why.strip()),
            f"the tolerance of {glob!r} has no reason.",
            "tolerances",
            "say where its value comes from",
        )
        _require(
            math.isfinite(stated.value) and stated.value >= 0.0,
            f"the tolerance of {glob!r} is {stated.value}.",
            "tolerances",
            "give a finite bound of 0 or more",
        )


def _require(holds: bool, what: str, entry: str, fix: str) -> None:  # noqa: FBT001  # a claim reads best as a plain argument
    if not holds:
        raise ConfigError(what, where=f"the plan's {entry}", fix=fix)
