"""A sample, every checkpoint: as the challenger runs, and on the reference's own inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from parity.compare.alignment import Alignment, Pair, expanded
from parity.compare.difference import Difference, compare
from parity.compare.ranks import Ranked, bids_of, inherited_slack, moved_ranks, ranked_by
from parity.compare.shard_rows import ShardRows, check_rows, rows_of_shard
from parity.explain.mirror import mirrored
from parity.noise import Envelope
from parity.tolerance import Floats, Mask
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, BatchKeys, Trace

Run = Literal["free", "local"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """What both stacks recorded for a sample.

    Attributes:
        batch: The sample.
        alignment: The pairs.
        reference: The reference at every aligned checkpoint.
        free_run: The challenger as it runs: shows *total* differences.
        given_run: The challenger with every aligned checkpoint given from the reference, so
            that each one is computed from the reference's inputs: shows *local* differences.
        given: Reference names of the checkpoints that were given.
        mirrored: Where the challenger's inputs could not be given: reference name to what the
            reference makes of the challenger's own, which its free run is compared with.
    """

    batch: RequestBatch
    alignment: Alignment
    reference: Trace
    free_run: Trace
    given_run: Trace
    given: frozenset[str]
    mirrored: Mapping[str, Array] = field(default_factory=dict)

    @cached_property
    def total(self) -> dict[str, Difference]:
        """How the challenger differs as it runs, by the reference's names."""
        return {
            pair.name: self._difference(pair, self.free_run, "free")
            for pair in self.alignment.pairs
        }

    @cached_property
    def local(self) -> dict[str, Difference]:
        """How the challenger's own steps differ, their inputs being the reference's."""
        return {
            pair.name: self._difference(pair, self.given_run, "local")
            for pair in self.alignment.pairs
        }

    def local_values(self, pair: Pair) -> tuple[Array, Array]:
        """Both sides' values of one step on the same inputs, along the pair's rows."""
        if pair.name not in self.mirrored:
            return pair.values(self.reference, self.given_run)
        values = {**self.reference.values, pair.name: self.mirrored[pair.name]}
        return pair.values(replace(self.reference, values=values), self.free_run)

    @cached_property
    def rows(self) -> ShardRows:
        """Whose rows the sample's are."""
        return rows_of_shard("", self.batch, self.batch)

    def requests(self, differences: Mapping[str, Difference], name: str) -> Mask:
        """[request]: where a pair differs."""
        return self.rows.requests_with(differences[name].differs, self.alignment[name].rows)

    def _difference(self, pair: Pair, challenger: Trace, run: Run) -> Difference:
        is_mirrored = run == "local" and pair.name in self.mirrored
        ours, theirs = (
            self.local_values(pair) if is_mirrored else pair.values(self.reference, challenger)
        )
        # Rounding adds up on the way, so noise measured of one step judges a step alone; an
        # envelope is of what arrives.
        sampled = pair.sampled if run == "local" or isinstance(pair.sampled, Envelope) else None
        slack = None if is_mirrored else self._slack(pair, challenger, run)
        found = compare(ours, theirs, pair, slack=slack, sampled=sampled)
        if pair.name != "rank" or pair.rows != "candidate":
            return found
        ranked = None if is_mirrored else self._ranked(challenger, run)
        offsets = self.batch.keys.candidate_offsets
        return replace(found, differs=moved_ranks(ours, theirs, offsets, ranked).flips)

    def _ranked(self, challenger: Trace, run: Run) -> Ranked | None:
        """What ranked: in a local run the given values, which may have been narrowed."""
        by = next((n for n in ("ecpm_micros", "pctr") if n in self.alignment.outputs), None)
        used = None if by is None or run == "free" else self._used(by, before="rank")
        if by is None or used is None:
            return ranked_by(self.alignment, self.batch, self.reference, challenger)
        ours, theirs = used
        return Ranked(reference=ours, challenger=theirs, allowed=np.abs(ours - theirs))

    def _slack(self, pair: Pair, challenger: Trace, run: Run) -> Floats | None:
        used = self._used("pctr", before=pair.name) if run == "local" else None
        bids = bids_of(self.batch)
        if pair.name != "ecpm_micros" or used is None or bids is None:
            return inherited_slack(
                pair.name, self.alignment, self.batch, self.reference, challenger
            )
        return 1000.0 * np.abs(bids) * np.abs(used[0] - used[1])

    def _used(self, name: str, *, before: str) -> tuple[Floats, Floats] | None:
        """[candidate]: a given checkpoint's values on both sides, where `before` uses them."""
        if name not in self.given or name not in self.alignment.ancestors.get(before, ()):
            return None
        pair = self.alignment[name]
        given, _ = given_from_reference([name], self.alignment, self.reference)
        keys = self.reference.keys
        ours = expanded(self.reference[name], pair.reference.rows, pair.rows, keys)
        theirs = expanded(given[pair.challenger.name], pair.challenger.rows, pair.rows, keys)
        return ours.astype(np.float64), theirs.astype(np.float64)


def probe(reference: Stack, challenger: Stack, batch: RequestBatch, alignment: Alignment) -> Probe:
    """Run the reference once and the challenger twice: free, and given the reference.

    Where the challenger can not be given what a step reads, the reference makes that step on the
    challenger's own inputs, in a pass more.

    Raises:
        StackError: A stack broke its contract.
    """
    wanted = {pair.name: pair for pair in (*alignment.pairs, *alignment.outputs.values())}
    ours = alignment.reference.sorted(wanted)
    theirs = alignment.challenger.sorted({pair.challenger.name for pair in wanted.values()})
    recorded = reference.score(batch, capture=ours)
    given, names = given_from_reference(
        [pair.name for pair in alignment.pairs], alignment, recorded
    )
    free = challenger.score(batch, capture=theirs)
    local = challenger.score(batch, capture=theirs, given=given)
    for trace in (recorded, free, local):
        check_rows(batch, trace)
    mirror = mirrored(reference, batch, alignment, free, names)
    return Probe(
        mirrored=mirror,
        batch=batch,
        alignment=alignment,
        reference=recorded,
        free_run=free,
        given_run=local,
        given=names,
    )


def given_from_reference(
    names: Iterable[str], alignment: Alignment, reference: Trace
) -> tuple[dict[str, Array], frozenset[str]]:
    """The reference's values as a challenger takes them, by the challenger's names.

    Returns:
        The values, and the reference names of those that can be given. One can not be when it
        is not settable, when the challenger has one value where the reference's candidates
        differ, or when its integers do not fit the challenger's.
    """
    given: dict[str, Array] = {}
    able: set[str] = set()
    for name in names:
        pair = alignment[name]
        if not pair.challenger.settable:
            continue
        values = _along(reference[name], pair, reference.keys)
        fitting = None if values is None else _narrowed(values, pair.challenger.dtype)
        if fitting is not None:
            given[pair.challenger.name] = fitting
            able.add(name)
    return given, frozenset(able)


def _along(values: Array, pair: Pair, keys: BatchKeys) -> Array | None:
    ours, theirs = pair.reference.rows, pair.challenger.rows
    if (ours, theirs) != ("candidate", "request"):
        return expanded(values, ours, theirs, keys)
    first = values[keys.candidate_offsets[:-1]]
    repeated = first[keys.request_of("candidate")]
    same = repeated == values
    if values.dtype.kind == "f":
        same |= np.isnan(repeated) & np.isnan(values)
    return first if bool(same.all()) else None


def _narrowed(values: Array, dtype: str) -> Array | None:
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite there
        cast = values.astype(dtype)
    if values.dtype.kind == "f":
        return cast
    return cast if np.array_equal(cast, values) else None
