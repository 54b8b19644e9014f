"""Which checkpoint of the challenger stands beside which one of the reference, and which do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.noise import Sampled
from parity.plan import Plan
from parity.tolerance import Exact, Tolerance, best_match, sampled_for, tolerance_for
from replay.checkpoint import Checkpoint, CheckpointGraph, RowAxis, Stage
from replay.errors import ConfigError
from replay.trace import Array, BatchKeys, Trace

# Outputs that the toolkit knows by name: gaps, rankings and metrics are taken from them.
OUTPUTS = ("logit", "pctr", "ecpm_micros", "rank")
# What two different models still share: everything before their layers.
SHARED_STAGES: tuple[Stage, ...] = ("log", "feature", "encoding", "tree")
_STATISTICAL = "the plan compares outputs statistically: layers of two models do not correspond"
_ENVELOPE = "another precision: judged by how the outputs move, no tolerance is stated for it alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two checkpoints that mean the same. Everything is called by the reference's name.

    Attributes:
        tolerance: Of each value alone, end to end.
        sampled: Of a whole sample's values, where the plan has it: a step of its own on given
            inputs is judged by this.
    """

    reference: Checkpoint
    challenger: Checkpoint
    tolerance: Tolerance
    sampled: Sampled | None = None

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def stage(self) -> Stage:
        return self.reference.stage

    @property
    def rows(self) -> RowAxis:
        """The finer row axis of the two: a request's value is repeated over its candidates."""
        return (
            "candidate"
            if "candidate" in {self.reference.rows, self.challenger.rows}
            else (self.reference.rows)
        )

    @property
    def is_screened(self) -> bool:
        """Whether every request is compared here: real layers wait for the probe."""
        return self.stage != "layer" or (self.reference.exact and self.challenger.exact)

    def values(self, reference: Trace, challenger: Trace) -> tuple[Array, Array]:
        """Both sides' recorded values along `rows`."""
        return (
            expanded(reference[self.name], self.reference.rows, self.rows, reference.keys),
            expanded(
                challenger[self.challenger.name], self.challenger.rows, self.rows, challenger.keys
            ),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Two graphs side by side.

    Attributes:
        reference: The reference's graph.
        challenger: The challenger's graph.
        pairs: What is compared, in the challenger's execution order.
        outputs: Known outputs that both sides have, whether compared by tolerance or not.
        unmatched_reference: Reference checkpoints without a partner, none left out on purpose.
        unmatched_challenger: The same of the challenger, by its own names.
        mismatched: Same name and not comparable, with the reason; they count as unmatched.
        left_out: Reference checkpoints that the plan leaves out, with its reason.
        unused: Entries of the plan that speak of no checkpoint here.
    """

    reference: CheckpointGraph
    challenger: CheckpointGraph
    pairs: tuple[Pair, ...]
    outputs: Mapping[str, Pair]
    unmatched_reference: tuple[str, ...]
    unmatched_challenger: tuple[str, ...]
    mismatched: Mapping[str, str]
    left_out: Mapping[str, str]
    unused: tuple[str, ...]

    def __getitem__(self, name: str) -> Pair:
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Pair]:
        """The pairs by the reference's name."""
        return {pair.name: pair for pair in self.pairs}

    @cached_property
    def by_challenger(self) -> dict[str, Pair]:
        """The pairs by the challenger's name."""
        return {pair.challenger.name: pair for pair in self.pairs}

    @cached_property
    def screened(self) -> tuple[Pair, ...]:
        """The pairs that are compared on every request."""
        return tuple(pair for pair in self.pairs if pair.is_screened)

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """Reference name of a pair to those of the pairs it depends on, in the challenger."""
        return {
            pair.name: frozenset(
                self.by_challenger[name].name
                for name in self.challenger.ancestors(pair.challenger.name)
                if name in self.by_challenger
            )
            for pair in self.pairs
        }


def align(reference: CheckpointGraph, challenger: CheckpointGraph, plan: Plan) -> Alignment:
    """Pair checkpoints by declared name and the plan's renames; never by position.

    Raises:
        ConfigError: A rename names no checkpoint, nothing at all is aligned, or a real pair
            has no tolerance.
    """
    names = _reference_names(reference, challenger, plan)
    pairs: list[Pair] = []
    outputs: dict[str, Pair] = {}
    mismatched: dict[str, str] = {}
    left_out: dict[str, str] = {}
    partners = {name: theirs for theirs, name in names.items()}
    for name, ours in reference.items():
        excuse = best_match(name, plan.left_out)
        aside = set_aside(ours, plan)
        if excuse is not None or aside is not None:
            left_out[name] = plan.left_out[excuse] if excuse is not None else str(aside)
        if name not in partners:
            continue
        theirs = challenger[partners[name]]
        if reason := mismatch(ours, theirs):
            if name not in left_out:
                mismatched[name] = reason
            continue
        if name not in left_out:
            tolerance = tolerance_for(ours, theirs, plan.tolerances)
            sampled = sampled_for(ours, plan.tolerances)
            pairs.append(
                Pair(reference=ours, challenger=theirs, tolerance=tolerance, sampled=sampled)
            )
            if name in OUTPUTS:
                outputs[name] = pairs[-1]
        elif aside is not None and excuse is None and name in OUTPUTS:
            outputs[name] = Pair(reference=ours, challenger=theirs, tolerance=Exact(why=aside))
    if not pairs and not outputs:
        raise ConfigError(
            f"no checkpoint of {challenger.stack!r} is aligned with one of {reference.stack!r}.",
            where=f"{reference.stack}: {', '.join(reference)}; "
            f"{challenger.stack}: {', '.join(challenger)}",
            fix="declare the same names, or map them with the plan's renames",
        )
    order = challenger.order
    pairs.sort(key=lambda pair: order[pair.challenger.name])
    compared = {pair.name for pair in pairs}
    known = {*compared, *left_out}
    return Alignment(
        reference=reference,
        challenger=challenger,
        pairs=tuple(pairs),
        outputs=outputs,
        unmatched_reference=tuple(name for name in reference if name not in known),
        unmatched_challenger=tuple(
            theirs for theirs in challenger if names.get(theirs) not in known
        ),
        mismatched=mismatched,
        left_out=left_out,
        unused=_unused(reference, plan),
    )


def set_aside(checkpoint: Checkpoint, plan: Plan) -> str | None:
    """Why a plan does not compare a checkpoint value by value; None where it does."""
    if checkpoint.stage in SHARED_STAGES or plan.outputs == "bounded":
        return None
    if plan.outputs == "statistical":
        return _STATISTICAL
    return _ENVELOPE if best_match(checkpoint.name, plan.tolerances) is None else None


def mismatch(reference: Checkpoint, challenger: Checkpoint) -> str | None:
    """Why two checkpoints of one name can not be compared; None when they can."""
    kinds = _kind(reference.dtype), _kind(challenger.dtype)
    if kinds[0] != kinds[1]:
        return f"dtype {reference.dtype} against {challenger.dtype}"
    if kinds[0] == "other":
        return f"dtype {reference.dtype} is no number"
    if reference.shape != challenger.shape or reference.axes[1:] != challenger.axes[1:]:
        return f"inner axes {_inner(reference)} against {_inner(challenger)}"
    if reference.stage != challenger.stage:
        return f"stage {reference.stage} against {challenger.stage}"
    rows = {reference.rows, challenger.rows}
    if len(rows) == 2 and "step" in rows:
        return f"rows along {reference.rows} against {challenger.rows}"
    return None


def expanded(values: Array, rows: RowAxis, onto: RowAxis, keys: BatchKeys) -> Array:
    """Values along a finer row axis: a request's value for each of its candidates."""
    return values if rows == onto else values[keys.request_of(onto)]


def _reference_names(
    reference: CheckpointGraph, challenger: CheckpointGraph, plan: Plan
) -> dict[str, str]:
    """Challenger name to the reference name it stands for, of those that have a partner."""
    for theirs, name in plan.renames.items():
        for graph, wanted in ((challenger, theirs), (reference, name)):
            if wanted not in graph:
                raise ConfigError(
                    f"{graph.stack!r} has no checkpoint {wanted!r} (known: {', '.join(graph)}).",
                    where=f"the plan's renames, {theirs!r}: {name!r}",
                    fix="map a challenger's checkpoint to a reference's",
                )
    taken = set(plan.renames.values())
    names = dict(plan.renames)
    for theirs in challenger:
        if theirs not in names and theirs in reference and theirs not in taken:
            names[theirs] = theirs
    return names


def _unused(reference: CheckpointGraph, plan: Plan) -> tuple[str, ...]:
    entries = [("tolerances", glob) for glob in plan.tolerances]
    entries += [("left_out", glob) for glob in plan.left_out]
    return tuple(
        f"{kind}: {glob}"
        for kind, glob in sorted(entries)
        if not any(best_match(name, {glob: None}) for name in reference)
    )


def _kind(dtype: str) -> str:
    kind = np.dtype(dtype)
    if kind.itemsize > 8:
        return "other"  # extended precision and text
    return {"f": "real", "i": "integer", "u": "integer", "b": "boolean"}.get(kind.kind, "other")


def _inner(checkpoint: Checkpoint) -> str:
    return str(dict(zip(checkpoint.axes[1:], checkpoint.shape, strict=True)))
