"""What parity.yaml says of a pair of stacks: the plan's entry, its tolerances and its policy."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from parity.calibrate.file import read_calibration
from parity.judge.policy import Margin, Policy
from parity.noise import Envelope
from parity.plan import EXAMPLES, PER_PLACE, PROBED, Material, Plan
from parity.tolerance import Planned, PlannedTolerance, best_match

Why = Annotated[str, Field(min_length=1, pattern=r"\S", description="Where the value comes from.")]
Share = Annotated[float, Field(ge=0, le=1)]
Patterns = str | list[str]


class Entry(BaseModel):
    """Frozen, of exactly the declared types, without further keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Bound = Annotated[float, Field(ge=0)]


class ToleranceEntry(Entry):
    """How far a checkpoint's values may differ, in place of what the stacks declare."""

    kind: Literal["exact", "ulps", "absolute", "envelope"]
    """The unit: none, units in the last place, or the checkpoint's own. `envelope` bounds how
    differences are distributed over a sample, in the checkpoint's own unit."""
    value: Bound = 0.0
    """The bound; not used by `exact` and `envelope`."""
    rms: Bound | None = None
    """Of an envelope: the largest root mean square of the differences."""
    p99: Bound | None = None
    """Of an envelope: the largest 99th percentile of their sizes."""
    most: Bound | None = None
    """Of an envelope: the largest size of any."""
    shift: Bound | None = None
    """Of an envelope: the largest size of their mean."""
    why: Why

    @model_validator(mode="after")
    def _has_its_bound(self) -> ToleranceEntry:
        figures = {name: getattr(self, name) for name in ("rms", "p99", "most", "shift")}
        missing = [name for name, figure in figures.items() if figure is None]
        if self.kind == "envelope" and missing:
            raise PydanticCustomError(
                "no_bound", "an envelope needs {missing}", {"missing": ", ".join(missing)}
            )
        if self.kind in {"ulps", "absolute"} and "value" not in self.model_fields_set:
            raise PydanticCustomError(
                "no_bound", "a tolerance in {kind} needs a value", {"kind": self.kind}
            )
        return self

    def planned(self) -> Planned:
        """The tolerance it states."""
        if self.kind != "envelope":
            return PlannedTolerance(kind=self.kind, value=self.value, why=self.why)
        return Envelope(
            rms=self.rms or 0.0,
            p99=self.p99 or 0.0,
            most=self.most or 0.0,
            shift=self.shift or 0.0,
            why=self.why,
        )


class CalibrationEntry(Entry):
    """Tolerances that `parity calibrate` measured and wrote."""

    file: Path
    """Relative to this file."""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of its bytes."""


class MarginEntry(Entry):
    """How much worse than the reference's a metric may be, in its own unit."""

    margin: Annotated[float, Field(ge=0)]
    """The whole 95 % interval of the difference has to lie within it."""
    why: Why


class MaterialEntry(Entry):
    """How much a cause may move before it is material, and not only different."""

    rank_flips: Share = Material().rank_flips
    """Share of the probed candidates whose rank it moves."""
    pctr: Bound = Material().pctr
    """Mean absolute change of the probability."""
    money: Bound = Material().money
    """Change of eCPM, relative to the reference's mean."""
    why: Why


class PolicyEntry(Entry):
    """What a verdict asks for."""

    ne_worse_by: MarginEntry | None = None
    """Normalised entropy: log loss over the entropy of the click rate; lower is better."""
    auc_worse_by: MarginEntry | None = None
    """Area under the ROC curve; higher is better."""
    calibration_error_worse_by: MarginEntry | None = None
    """|predicted / observed clicks - 1|; lower is better."""
    log_loss_worse_by: MarginEntry | None = None
    """Mean log loss in nats; lower is better."""
    top_k_overlap_worse_by: MarginEntry | None = None
    """1 - overlap of both sides' first `top_k` candidates, mean over requests."""
    rank_correlation_worse_by: MarginEntry | None = None
    """1 - correlation of both sides' ranks, mean over requests."""
    gauc_worse_by: MarginEntry | None = None
    """AUC within each request, mean weighted by its labelled candidates; higher is better."""
    bid_weighted_flips_worse_by: MarginEntry | None = None
    """Share of the bids in the reference's first `top_k` that the challenger's first lack."""
    auction_value_worse_by: MarginEntry | None = None
    """eCPM in millionths of the first `top_k`, by the reference's probability; higher is better."""
    auction_kept_worse_by: MarginEntry | None = None
    """1 - the share of the reference's auction value that the challenger's choices keep."""
    auction_value_labels_worse_by: MarginEntry | None = None
    """The same as `auction_value`, among labelled candidates and by what was clicked."""
    auction_kept_labels_worse_by: MarginEntry | None = None
    """The same as `auction_kept`, among labelled candidates and by what was clicked."""
    dp_p99_worse_by: MarginEntry | None = None
    """With `envelope`: 99th percentile of the differences in probability."""
    dp_max_worse_by: MarginEntry | None = None
    """With `envelope`: the largest difference in probability."""
    sum_p_error_worse_by: MarginEntry | None = None
    """With `envelope`: |predicted clicks / the reference's - 1|, which no ranking metric sees."""
    pair_flips_worse_by: MarginEntry | None = None
    """With `envelope`: share of the pairs of one request's candidates that change order."""
    slice_calibration_error_worse_by: MarginEntry | None = None
    """|predicted / observed clicks - 1| in any slice: a slice that is significantly worse by more
    than this diverged. Where it is absent slices are shown and not judged."""
    slice_correction: Literal["holm", "benjamini_hochberg"] = "holm"
    """For the number of slices tried: `holm` keeps the chance of any false finding at 5 %,
    `benjamini_hochberg` the share of false ones among the findings."""
    stop_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """With --stop-early: the share of differing requests that is tested."""
    stop_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """How sure that test is, whenever it stops."""
    diverges_on: Literal["different", "material"] = "different"
    """`material` lets a cause stand that moves less than the plan's `material` allows; it is
    still named. Only for a plan that compares the same model."""
    min_requests: Annotated[int, Field(ge=1)] = 1
    """Fewer compared requests are no evidence."""
    min_compared_share: Share = 0.5
    """Of the requests read; below it the verdict would speak of a minority of the day."""
    min_clicks: Annotated[int, Field(ge=1)] = 20
    """Fewer clicks decide no metric: their intervals cover less than 95 %."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples of the requests behind every interval."""
    fidelity: Literal["if_logged", "require"] = "if_logged"
    """Whether a log without served values is accepted. Failing fidelity is never parity."""

    def margins(self) -> dict[str, Margin]:
        """Metric name to its margin."""
        suffix = "_worse_by"
        found = {}
        for name in type(self).model_fields:
            entry = getattr(self, name)
            if name.endswith(suffix) and entry is not None:
                found[name.removesuffix(suffix)] = Margin(worse_by=entry.margin, why=entry.why)
        return found


OF_PRECISION = frozenset(
    f"{name}_worse_by" for name in ("dp_p99", "dp_max", "sum_p_error", "pair_flips")
)


class PlanEntry(Entry):
    """How one pair of stacks, or several, is compared."""

    reference: Patterns
    """A stack's name, a glob, or a list of these."""
    challenger: Patterns
    """The same of the challenger."""
    outputs: Literal["bounded", "statistical", "envelope"] = "bounded"
    """`bounded`: the same model translated, every checkpoint within its tolerance.
    `statistical`: another model, features as usual and outputs by metrics with margins.
    `envelope`: the same model in another precision, features as usual, layers and outputs where
    a tolerance is stated or measured, and the outputs by how they move over all requests."""
    same_training: bool | None = None
    """Both artifacts come from one training; by default true unless outputs are statistical."""
    renames: dict[str, str] = Field(default_factory=dict)
    """A challenger's checkpoint to the reference's name for it."""
    tolerances: dict[str, ToleranceEntry] = Field(default_factory=dict)
    """Name or glob of a reference's checkpoint to a tolerance."""
    calibration: CalibrationEntry | None = None
    """Measured tolerances, of what `tolerances` does not speak of."""
    left_out: dict[str, Why] = Field(default_factory=dict)
    """Name or glob of a reference's checkpoint to the reason why it is not compared."""
    min_coverage: Share = 1.0
    """Share of the reference's checkpoints, left_out aside, that has to be compared."""
    material: MaterialEntry | None = None
    """What a cause has to move to be material; by default any rank, or what float32 can show."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """Candidates that count as shown, for the overlap of rankings."""
    slices: list[str] = Field(default_factory=list)
    """Logged fields whose every value is a slice, such as candidate.advertiser_id. Fields of at
    most twenty values are slices without being named."""
    probed: Annotated[int, Field(ge=1)] = PROBED
    """At most so many diverging requests are probed, and as many agreeing ones."""
    per_place: Annotated[int, Field(ge=1)] = PER_PLACE
    """Of them, kept for each place where divergence begins."""
    examples: Annotated[int, Field(ge=0)] = EXAMPLES
    """Kept for each checkpoint."""
    policy: PolicyEntry = Field(default_factory=PolicyEntry)
    """What the verdict asks for."""

    @field_validator("reference", "challenger")
    @classmethod
    def _names_something(cls, value: Patterns) -> Patterns:
        if not value or (isinstance(value, list) and not all(value)):
            raise PydanticCustomError(
                "no_name", "a stack's name, a glob, or a list of these is needed"
            )
        return value

    @model_validator(mode="after")
    def _can_pass(self) -> PlanEntry:
        usable = [
            name
            for name in PolicyEntry.model_fields
            if name.endswith("_worse_by") and (name in OF_PRECISION) == (self.outputs == "envelope")
        ]
        if self.outputs != "bounded" and not any(getattr(self.policy, name) for name in usable):
            raise PydanticCustomError(
                "no_margin",
                "{outputs} outputs are judged by metrics, and the policy sets no margin "
                "(known: {known})",
                {"outputs": self.outputs, "known": ", ".join(usable)},
            )
        return self

    def speaks_of(self, reference: str, challenger: str) -> bool:
        """Whether this entry is about the pair."""
        return _matches(reference, self.reference) and _matches(challenger, self.challenger)

    def to_plan(self, *, measured: bool = True) -> Plan:
        """What to compare, and how tightly.

        Args:
            measured: With the tolerances of its calibration.

        Raises:
            ConfigError: The calibration is not the one that the plan names.
        """
        same_model = self.outputs != "statistical"
        tolerances: dict[str, Planned] = {n: t.planned() for n, t in self.tolerances.items()}
        on = ""
        if measured and self.calibration is not None:
            found = read_calibration(self.calibration.file, self.calibration.digest)
            on = found.reference
            # What a person stated, if only by a glob, stands.
            tolerances |= {
                name: entry
                for name, entry in found.tolerances.items()
                if best_match(name, self.tolerances) is None
            }
        return Plan(
            outputs=self.outputs,
            same_training=same_model if self.same_training is None else self.same_training,
            renames=self.renames,
            tolerances=tolerances,
            measured_on=on,
            left_out=self.left_out,
            min_coverage=self.min_coverage,
            material=Material()
            if self.material is None
            else Material(
                rank_flips=self.material.rank_flips,
                pctr=self.material.pctr,
                money=self.material.money,
            ),
            top_k=self.top_k,
            slices=tuple(self.slices),
            probed=self.probed,
            per_place=self.per_place,
            examples=self.examples,
        )

    def to_policy(self) -> Policy:
        """What to ask of the result."""
        policy = self.policy
        return Policy(
            min_requests=policy.min_requests,
            min_compared_share=policy.min_compared_share,
            min_coverage=self.min_coverage,
            fidelity=policy.fidelity,
            margins=policy.margins(),
            min_clicks=policy.min_clicks,
            diverges_on=policy.diverges_on,
            resamples=policy.resamples,
            slice_correction=policy.slice_correction,
            stop_rate=policy.stop_rate,
            stop_level=policy.stop_level,
        )


def _matches(name: str, patterns: Patterns) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(name, pattern) for pattern in listed)
