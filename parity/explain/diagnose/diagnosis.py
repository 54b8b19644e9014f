"""One cause in a person's words, or the admission that nothing explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from parity.explain.diagnose.channels import channels_text, wrong_channels
from parity.explain.diagnose.conditions import best_condition
from parity.explain.diagnose.evidence import Evidence
from parity.explain.diagnose.hypothesis import NONE, Scored
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.sampling import few_channels, sample_of
from parity.explain.diagnose.search import PLACES, constant, explain
from parity.explain.diagnose.wording import percent

COUNTER_EXAMPLES = 5
# An explanation of a few channels is preferred when it saves nearly as much: it says where.
_NEARLY = 0.7
# A constant for each channel is a long way to say that a few channels are wrong.
_BY_CHANNEL = {"channel_offset", "channel_scale"}
# Above this no other view is asked for.
_PLAIN = 0.95
# A step of one on at most this share of the values is taken for an edge, not for another origin.
_SOME = 0.5
# Of differing leaves, so many have to be explained.
_LEAVES = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterExample:
    """A differing value that the explanation does not reach.

    Attributes:
        row: Its place in the evidence's rows.
        expected: What the explanation predicts there.
    """

    row: int
    reference: float
    challenger: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a checkpoint differs.

    Attributes:
        text: One sentence.
        kind: The class of the explanation (docs/diagnosis.md).
        parameters: What was fitted.
        support: Share of the differing held-back values that it explains.
        counter_examples: The first few differing values that it does not.
        bits: What it saves on the held-back values, everything paid.
    """

    text: str
    kind: str
    parameters: Mapping[str, float | int | str] = field(default_factory=lambda: NONE)
    support: float
    counter_examples: tuple[CounterExample, ...] = ()
    bits: float


def diagnose(evidence: Evidence) -> Diagnosis | None:
    """Explain a cause from pairs of values; None when nothing earns its bits.

    Half of the requests is fitted on and the other half decides (docs/diagnosis.md).
    """
    sample = sample_of(evidence)
    if sample is None:
        return None
    whole = _credible(sample, explain(sample))
    moved = _moved_rows(evidence, whole)
    if moved is not None:
        return moved
    channels = wrong_channels(sample)
    if channels is not None:
        part = sample.narrowed(channels)
        narrow = _credible(part, explain(part))
        if narrow is not None and (
            whole is None
            or whole.hypothesis.kind in {*_BY_CHANNEL, narrow.hypothesis.kind}
            or narrow.bits >= _NEARLY * whole.bits
        ):
            return _told(part, narrow, where=f"{channels_text(sample, channels)}: ")
    if whole is None or _may_be_an_edge(sample, whole):
        whole = best_condition(sample) or _as_edge(sample, whole) or constant(sample)
    return None if whole is None else _told(sample, whole)


def _moved_rows(evidence: Evidence, whole: Scored | None) -> Diagnosis | None:
    """Rows that moved within their requests, of a checkpoint too wide to be sampled by requests."""
    view = few_channels(evidence)
    if view is None or (whole is not None and whole.support >= _PLAIN):
        return None
    seen = sample_of(view)
    found = None if seen is None else _credible(seen, explain(seen, PLACES))
    if seen is None or found is None or found.support <= _support(whole):
        return None
    return _told(seen, found)


def _credible(sample: Sample, found: Scored | None) -> Scored | None:
    """An explanation of leaves has to hold of all rows: some rows that change their leaf are none.

    Neighbouring rows have leaves alike, and leaves are few numbers.
    """
    if found is None or sample.evidence.stage != "tree":
        return found
    return found if found.everywhere and found.support >= _LEAVES else None


def _support(found: Scored | None) -> float:
    return 0.0 if found is None else found.support


def _may_be_an_edge(sample: Sample, found: Scored) -> bool:
    """Whether a discrete code moves by one on some rows only, as on the edge of a bucket."""
    is_step = found.hypothesis.kind == "off_by_one" and sample.is_integer
    return is_step and not found.everywhere


def _as_edge(sample: Sample, found: Scored | None) -> Scored | None:
    if found is None or sample.differs.mean() > _SOME:
        return found
    step = found.hypothesis
    renamed = replace(
        step,
        kind="bucket_edge_side",
        says=f"the code is {step.says}",
        meaning="always to one side: a value on a bucket's edge falls on the other side of it",
    )
    return replace(found, hypothesis=renamed)


def _told(sample: Sample, found: Scored, *, where: str = "") -> Diagnosis:
    return Diagnosis(
        text=where + _sentence(found),
        kind=found.hypothesis.kind,
        parameters=dict(found.hypothesis.parameters),
        support=found.support,
        counter_examples=_counter_examples(sample, found),
        bits=round(found.bits, 1),
    )


def _sentence(found: Scored) -> str:
    hypothesis = found.hypothesis
    if found.everywhere and found.moves > 0.95:
        share = f" on {percent(found.rows)} of rows"
    else:
        share = f" on {percent(found.support)} of differing rows"
    meaning = f": {hypothesis.meaning}" if hypothesis.meaning else ""
    return f"{hypothesis.says}{share}{meaning}"


def _counter_examples(sample: Sample, found: Scored) -> tuple[CounterExample, ...]:
    left = np.flatnonzero(sample.differs & ~found.explained)[:COUNTER_EXAMPLES]
    return tuple(
        CounterExample(
            row=int(sample.rows[cell // sample.num_channels]),
            reference=float(sample.r[cell]),
            challenger=float(sample.c[cell]),
            expected=float(found.predicted[cell]),
        )
        for cell in left.tolist()
    )
