"""Everything that can be refused, refused before the first request is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from parity.compare.alignment import Alignment, align
from parity.compare.slice_values import check_named
from parity.judge.plain import plain_from
from parity.judge.policy import Policy
from parity.options import ReplayOptions
from parity.plan import Plan
from replay.digests import digest_of_code, digest_of_json
from replay.engine.lane import Lane, LaneSpec
from replay.errors import ArtifactError, ConfigError
from replay.logs.parquet import LoggedDay, open_day
from replay.registry import StackSpec, Wrapper
from replay.stack import StackIdentity

PLANTING = "parity.planting:plant"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A replay that can begin.

    Attributes:
        day: The logged day and its shards.
        lanes: How further lanes are opened.
        lane: One lane that is open already.
        reference: Who the reference is.
        challenger: Who the challenger is; planted bugs are not part of its identity.
        alignment: What stands beside what.
        fingerprint: Digest of everything the report depends on.
    """

    options: ReplayOptions
    plan: Plan
    policy: Policy
    day: LoggedDay
    lanes: LaneSpec
    lane: Lane
    reference: StackIdentity
    challenger: StackIdentity
    alignment: Alignment
    fingerprint: str


@contextmanager
def opened(options: ReplayOptions) -> Iterator[Opened]:
    """Open the day and both stacks, and check the plan against them.

    Raises:
        ToolkitError: No such day, stack, plan or plant; an artifact that can not be read; two
            artifacts of different trainings; a plan that does not fit the stacks.
    """
    reference = options.config.spec(options.reference)
    challenger = _planted(options.config.spec(options.challenger), options)
    plan = options.config.plan(options.reference, options.challenger)
    policy = options.config.policy(options.reference, options.challenger)
    if options.stop_early and plan.outputs == "envelope":
        raise ConfigError(
            "an envelope is judged over the whole day, and --stop-early leaves a part unread.",
            where="the command line and the pair's plan",
            fix="replay without --stop-early",
        )
    day = open_day(options.logs, options.date)
    if plan.slices and day.shards:
        check_named(day.schema, plan.slices)
    lanes = LaneSpec(reference=reference, challenger=challenger, cache=options.cache)
    with lanes.open() as lane:
        ours, theirs = lane.reference.identity(), lane.challenger.identity()
        _check_training(plan, ours, theirs)
        alignment = align(lane.reference.checkpoints, lane.challenger.checkpoints, plan)
        yield Opened(
            options=options,
            plan=plan,
            policy=policy,
            day=day,
            lanes=lanes,
            lane=lane,
            reference=ours,
            challenger=theirs,
            alignment=alignment,
            fingerprint=_fingerprint(options, plan, policy, day, identities=(ours, theirs)),
        )


def _planted(spec: StackSpec, options: ReplayOptions) -> StackSpec:
    if not options.plants:
        return spec
    plants = [{"kind": plant.kind, "checkpoint": plant.checkpoint} for plant in options.plants]
    wrapper = Wrapper(function=PLANTING, arguments={"plants": plants})
    return StackSpec(
        name=spec.name,
        opener=spec.opener,
        artifact=spec.artifact,
        options=spec.options,
        wrappers=(*spec.wrappers, wrapper),
    )


def _check_training(plan: Plan, reference: StackIdentity, challenger: StackIdentity) -> None:
    ids = reference.training_id, challenger.training_id
    if plan.same_training and None not in ids and ids[0] != ids[1]:
        raise ArtifactError(
            f"the artifacts come from different trainings: {ids[0]} and {ids[1]}.",
            where=f"reference {reference.name!r} and challenger {challenger.name!r}",
            fix="export the challenger's artifact again from the reference's training, or use a plan "
            "with same_training: false",
        )


def _fingerprint(
    options: ReplayOptions,
    plan: Plan,
    policy: Policy,
    day: LoggedDay,
    *,
    identities: tuple[StackIdentity, StackIdentity],
) -> str:
    import parity

    reference, challenger = identities

    return digest_of_json(
        {
            "judge": digest_of_code(parity),
            "log": day.digest,
            "plan": plan.digest,
            "reference": reference.to_json(),
            "challenger": challenger.to_json(),
            "plants": [str(plant) for plant in options.plants],
            "sample": options.sample,
            # What is read depends on the policy only where reading ends by it.
            "stop_early": plain_from(policy) if options.stop_early else None,
            "seed": options.seed,
            "canary": options.canary,
        }
    )
