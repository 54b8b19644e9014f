"""A day's shards through an engine: all of them, or in rounds until the evidence decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from parity.compare.precision import precision_metrics
from parity.compare.screen import limits_of
from parity.judge.early import looks, wealth, wealth_against
from parity.judge.metrics.intervals import LEVEL
from parity.judge.metrics.measure import metrics_of
from parity.judge.policy import Policy
from parity.judge.report import Look, Metric, StopDecision, Stopping
from parity.opening import Opened
from parity.rounds import ShardRound, rounds
from parity.screening import ScreenShard
from parity.shard_result import ShardResult, from_bytes
from replay.engine import local, on_ray
from replay.engine.journal import Journal
from replay.logs.parquet import Shard
from replay.registry import StackSpec

# Resamples grow with the level, so that as many of them lie beyond the interval's ends.
MOST_RESAMPLES = 10_000

Unit = Shard | ShardRound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScreenedDay:
    """What was read of a day, merged, and why no more of it, where an early end was asked for."""

    result: ShardResult
    stopping: Stopping | None = None


def screen_day(ready: Opened, journal: Journal, heard: Callable[[int, int], None]) -> ScreenedDay:
    """Screen the day in the order of its shards; with `stop_early` in rounds of hashed requests.

    Args:
        ready: The opened replay.
        journal: What is finished already, and where results are kept.
        heard: Told how many of how many rows are read.

    Raises:
        ToolkitError: A shard can not be read, or a stack fails nearly everything.
    """
    total = ready.day.num_requests
    heard(0, total)
    result = ShardResult(limits=limits_of(ready.plan))
    if not ready.options.stop_early:
        return ScreenedDay(result=_merged(result, ready, journal, ready.day.shards, heard))
    policy = ready.policy
    shares = looks(total, policy.stop_rate, policy.stop_level)
    judge = _Judge(ready=ready, looks=len(shares))
    seen: list[Look] = []
    for units in rounds(ready.day.shards, shares):
        result = _merged(result, ready, journal, units, heard)
        day = result.compared + sum(result.failed.values()) + result.not_sampled
        look = _look(result, day, policy)
        seen.append(look)
        decision = judge.decision(look, result)
        if decision != "undecided":
            break
    return ScreenedDay(
        result=result,
        stopping=Stopping(
            stopped=result.not_sampled > 0,
            decision=decision if result.not_sampled > 0 else "undecided",
            rate=policy.stop_rate,
            level=policy.stop_level,
            requests=day,
            interval_level=judge.level,
            looks=tuple(seen),
        ),
    )


def judged_metrics(
    ready: Opened, result: ShardResult, stopping: Stopping | None
) -> tuple[Metric, ...]:
    """Quality, where the model itself changed; translations are judged by their tolerances."""
    if ready.plan.outputs == "envelope":
        return precision_metrics(result.precision, ready.policy)
    outcomes = result.all_outcomes()
    if ready.plan.outputs != "statistical" or outcomes is None:
        return ()
    level = LEVEL if stopping is None else stopping.interval_level
    return metrics_of(outcomes, _at(ready.policy, level), ready.options.seed, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Decides at each look; the intervals of all looks hold together at 95 % (Bonferroni)."""

    ready: Opened
    looks: int

    @property
    def level(self) -> float:
        return 1 - (1 - LEVEL) / self.looks if self.ready.plan.outputs == "statistical" else LEVEL

    def decision(self, look: Look, result: ShardResult) -> StopDecision:
        passes = 1 / (1 - self.ready.policy.stop_level)
        if look.against >= passes:
            return "many_differ"
        if self.ready.plan.outputs != "statistical":
            return "few_differ" if look.wealth >= passes else "undecided"
        outcomes = result.all_outcomes()
        if outcomes is None:
            return "undecided"
        found = metrics_of(
            outcomes, _at(self.ready.policy, self.level), self.ready.options.seed, level=self.level
        )
        judged = {one.decision for one in found} - {"informative"}
        if "worse" in judged or (judged == {"no_worse"} and look.wealth >= passes):
            return "metrics"
        return "undecided"


def _at(policy: Policy, level: float) -> Policy:
    resamples = round(policy.resamples * (1 - LEVEL) / (1 - level))
    return replace(policy, resamples=max(policy.resamples, min(MOST_RESAMPLES, resamples)))


def _look(result: ShardResult, day: int, policy: Policy) -> Look:
    counts = result.compared, result.requests_differing
    return Look(
        compared=result.compared,
        differing=result.requests_differing,
        wealth=wealth(*counts, day=day, rate=policy.stop_rate),
        against=wealth_against(*counts, day=day, rate=policy.stop_rate),
    )


def _merged(
    result: ShardResult,
    ready: Opened,
    journal: Journal,
    units: Iterable[Unit],
    heard: Callable[[int, int], None],
) -> ShardResult:
    """The result with those of further shards, merged in their order."""
    total = ready.day.num_requests
    for unit, payload in _replayed(ready, journal, units):
        result = result.merge(from_bytes(payload))
        heard(result.read - (result.not_sampled if isinstance(unit, ShardRound) else 0), total)
        assert unit.id in result.shards, "a shard's result is of that shard"
    return result


def _replayed(
    ready: Opened, journal: Journal, units: Iterable[Unit]
) -> Iterator[tuple[Unit, bytes]]:
    options = ready.options
    work: Callable[..., bytes] = ScreenShard(
        alignment=ready.alignment,
        plan=ready.plan,
        sample=options.sample,
        strict=options.strict,
    )
    spec = ready.lanes
    if options.engine == "ray":
        # Actors work in another folder: whatever is named relative to this one is spelled out.
        return on_ray.run_shards(
            [_resolved(unit) for unit in units],
            work,
            reference=_spelled_out(spec.reference),
            challenger=_spelled_out(spec.challenger),
            workers=options.workers,
            journal=journal,
            cache=None if options.cache is None else options.cache.resolve(),
        )
    return local.run_shards(
        units,
        work,
        reference=spec.reference,
        challenger=spec.challenger,
        workers=options.workers,
        journal=journal,
        cache=options.cache,
        lane=ready.lane,
    )


def _resolved(unit: Unit) -> Unit:
    if isinstance(unit, ShardRound):
        return replace(unit, shard=_in_full(unit.shard))
    return _in_full(unit)


def _in_full(shard: Shard) -> Shard:
    return replace(shard, path=shard.path.resolve())


def _spelled_out(spec: StackSpec) -> StackSpec:
    return spec if spec.artifact is None else replace(spec, artifact=spec.artifact.resolve())
