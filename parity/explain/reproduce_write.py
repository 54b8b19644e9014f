"""From a probe's causes to bundles: a request chosen, shrunk while the same cause stays, written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.compare.summary import tolerance_text
from parity.explain.causes import Fault, find_faults
from parity.explain.probe import Probe
from parity.explain.reproduce_bundle import (
    Bundle,
    Shrunk,
    Side,
    Values,
    folder_name,
    make_folder,
    write_description,
    write_request,
)
from parity.explain.reproduce_trials import Sides, Trials, group_of, others_of
from parity.explain.reproduce_values import first_place, kinds_of, row_values
from parity.explain.shrink import Variant, batch_of, shrink, whole
from parity.plan import Plan
from replay.errors import ToolkitError
from replay.registry import StackSpec
from replay.request import RequestBatch
from replay.stack import Stack

# A person mends one cause after another; the next replay writes the bundles of what is left.
MAX_BUNDLES = 5
# Requests that are tried when one does not show its cause alone.
MAX_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a cause's bundle.

    Attributes:
        number: The cause's place in causal order, from 1.
        checkpoint: The cause.
        path: The bundle's folder; None when there is none.
        note: Why there is none.
    """

    number: int
    checkpoint: str
    path: Path | None
    note: str = ""


def write_bundles(
    run_dir: Path, found: Probe, sides: Sides, plan: Plan, *, limit: int = MAX_BUNDLES
) -> tuple[Written, ...]:
    """Write `<run_dir>/causes/<n>-<checkpoint>/` for the first causes of a probe.

    A cause that can not be shown by one request alone gets no bundle and a note; so does one on
    which a stack fails. The number of passes is bounded, whatever the requests are like.

    Args:
        run_dir: The run's directory.
        found: The probe that named the causes.
        sides: The stacks that it ran.
        plan: What it was compared by.
        limit: Causes that get a bundle.

    Returns:
        One entry for each cause, in causal order.
    """
    return tuple(
        _tried(fault, found, sides, plan, number=number, causes=run_dir / "causes")
        if number <= limit
        else Written(
            number=number,
            checkpoint=fault.checkpoint,
            path=None,
            note=f"only the first {limit} causes have a bundle",
        )
        for number, fault in enumerate(find_faults(found), start=1)
    )


def _tried(
    fault: Fault, found: Probe, sides: Sides, plan: Plan, *, number: int, causes: Path
) -> Written:
    folder = causes / folder_name(number, fault.checkpoint)
    try:
        is_written = _write(folder, fault, found, sides, plan)
        note = "" if is_written else "no request shows it alone: it depends on the batch"
    except ToolkitError as error:
        is_written, note = False, error.what
    return Written(
        number=number,
        checkpoint=fault.checkpoint,
        path=folder if is_written else None,
        note=note,
    )


def _write(folder: Path, fault: Fault, found: Probe, sides: Sides, plan: Plan) -> bool:
    for place in _starts(fault, found):
        request = found.batch.take([place])
        alone = sides.probe(request, found)
        if not _shows(fault, alone):
            continue
        row, _ = first_place(fault.pairs[0], alone)
        kind = int(kinds_of(fault.pairs[0], alone)[row])
        (others,) = others_of(alone, fault, kind)
        assert others is not None, "it shows the cause"
        trials = Trials(
            request=request,
            fault=fault,
            kind=kind,
            allowed=others,
            found=found,
            sides=sides,
            known={whole(request): len(others)},
        )
        small = shrink(request, trials)
        final = batch_of(request, [small], renamed=False)
        seen = sides.probe(final, found)
        if not _shows(fault, seen) or others_of(seen, fault, kind)[0] is None:
            small, final, seen = whole(request), request, alone
        make_folder(folder)
        digest = write_request(folder, final)
        bundle = _bundle(
            fault, request=request, small=small, seen=seen, sides=sides, plan=plan, digest=digest
        )
        write_description(folder, bundle)
        return True
    return False


def _bundle(
    fault: Fault,
    *,
    request: RequestBatch,
    small: Variant,
    seen: Probe,
    sides: Sides,
    plan: Plan,
    digest: str,
) -> Bundle:
    pair = fault.pairs[0]
    row, inner = first_place(pair, seen)
    keys, before = seen.batch.keys, whole(request)
    ours, theirs = row_values(pair, seen, row, inner)
    named = [other.checkpoint for other in find_faults(seen)]
    return Bundle(
        checkpoint=pair.name,
        stage=pair.stage,
        reference=_side(sides.reference_spec, sides.reference),
        challenger=_side(sides.challenger_spec, sides.challenger),
        tolerance=tolerance_text(pair),
        values=Values(
            request_id=keys.request_ids[0].as_py(),
            ad_id=str(keys.ad_ids[row].as_py()) if pair.rows == "candidate" else None,
            row=row,
            inner=inner,
            reference=ours,
            challenger=theirs,
        ),
        shrunk=Shrunk(
            candidates=(len(before.candidates), len(small.candidates)),
            steps=(len(before.steps), len(small.steps)),
            fields=(len(before.fields), len(small.fields)),
            kept=small.fields,
        ),
        plan=plan.to_json(),
        request_digest=digest,
        also=tuple(name for name in named if name != pair.name),
    )


def _side(spec: StackSpec, stack: Stack) -> Side:
    identity = stack.identity()
    plain = spec.to_json()
    return Side(
        name=spec.name,
        opener=spec.opener,
        # Absolute: the test is run from wherever its reader stands.
        artifact=None if spec.artifact is None else str(spec.artifact.resolve()),
        options=plain["options"],
        wrappers=tuple(plain["wrappers"]),
        digest=identity.digest,
        identity=identity.to_json(),
    )


def _starts(fault: Fault, found: Probe) -> list[int]:
    """Requests that show a cause: with the fewest others first, then the shortest, then by hash.

    Others count where they differ on the very row that shows the cause: rows beside it can go.
    """
    pair, group, keys = fault.pairs[0], group_of(fault), found.batch.keys
    request_of = keys.request_of(pair.rows)
    others = np.zeros(len(request_of), dtype=np.int64)
    for other in found.alignment.pairs:
        if other.name in group or not found.local[other.name].differing:
            continue
        if other.rows == pair.rows:
            others += found.local[other.name].differs
        else:
            others += found.requests(found.local, other.name)[request_of]
    shows = np.flatnonzero(found.local[pair.name].differs)
    fewest = np.full(keys.num_requests, len(found.alignment.pairs))
    np.minimum.at(fewest, request_of[shows], others[shows])
    size = np.diff(keys.candidate_offsets) + np.diff(keys.step_offsets)
    order = np.lexsort((found.rows.hashes, size, fewest))
    showing = set(request_of[shows].tolist())
    return [place for place in order.tolist() if place in showing][:MAX_STARTS]


def _shows(fault: Fault, seen: Probe) -> bool:
    return any(fault.checkpoint == pair.name for one in find_faults(seen) for pair in one.pairs)
