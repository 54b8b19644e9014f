"""The canary: a known bug on top of the challenger, to show that a bug would have been seen."""

from __future__ import annotations

from dataclasses import replace

from parity.compare.alignment import Pair
from parity.compare.difference import compare
from parity.compare.request_hash import request_hashes
from parity.explain.causes import find_faults
from parity.explain.probe import Probe, given_from_reference
from parity.judge.report import Canary
from parity.planting import Plant, plant
from parity.value_plants import change_for
from replay.errors import ConfigError
from replay.stack import Stack

# Tried in this order at a place: what shows on most values first.
_KINDS = ("scale", "off_by_one", "permute_candidates")


def choose_canary(probe: Probe) -> Plant | None:
    """A bug that has to be seen on this sample, where no cause stands; None when there is none.

    Features go first, real values before integers. Which of them it is depends on the sample's
    smallest request hash alone, so that a replay can be repeated and places take turns.
    """
    if probe.batch.num_requests == 0:
        return None
    causes = {pair.name for fault in find_faults(probe) for pair in fault.pairs}
    clouded = {name for fault in find_faults(probe) for name in fault.clouded}
    pairs = [
        pair
        for pair in probe.alignment.pairs
        if pair.name in probe.given and pair.name not in causes | clouded
    ]
    turn = int(request_hashes(probe.batch.keys.request_ids).min())
    for group in (
        [pair for pair in pairs if pair.stage == "feature"],
        [pair for pair in pairs if pair.stage != "feature"],
    ):
        start = turn % max(len(group), 1)
        for kind in _KINDS:
            for pair in (*group[start:], *group[:start]):
                if _shows(kind, pair, probe):
                    return Plant(kind=kind, checkpoint=pair.challenger.name)
    return None


def fly_canary(challenger: Stack, probe: Probe) -> Canary:
    """Plant a canary on the probe's sample; caught means named, and nothing else beside it."""
    chosen = choose_canary(probe)
    if chosen is None:
        return Canary(planted=None, caught=None)
    alignment = probe.alignment
    given, _ = given_from_reference([p.name for p in alignment.pairs], alignment, probe.reference)
    trace = plant(challenger, [chosen]).score(
        probe.batch, capture=list(probe.given_run.values), given=given
    )
    before = {pair.name for fault in find_faults(probe) for pair in fault.pairs}
    after = {
        pair.name for fault in find_faults(replace(probe, given_run=trace)) for pair in fault.pairs
    }
    name = alignment.by_challenger[chosen.checkpoint].name
    return Canary(planted=str(chosen), caught=after - before == {name} and before <= after)


def _shows(kind: str, pair: Pair, probe: Probe) -> bool:
    """Whether the bug would differ beyond the pair's tolerance, on this sample's values."""
    graph = probe.alignment.challenger
    try:
        change = change_for(kind, None, pair.challenger, graph)
    except ConfigError:
        return False
    produced = probe.given_run[pair.challenger.name]
    changed = change.apply(produced, {}, probe.batch.keys).astype(produced.dtype)
    altered = replace(
        probe.given_run, values={**probe.given_run.values, pair.challenger.name: changed}
    )
    ours, theirs = pair.values(probe.reference, altered)
    return bool(compare(ours, theirs, pair, sampled=pair.sampled).differing)
