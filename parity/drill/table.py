"""A drill as a table for people, and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parity.drill.counts import MEANS, STAGES, Counts, count, defects, exit_code, failings
from parity.drill.drill import Drilled
from parity.drill.score import Outcome
from parity.judge.plain import plain_from

SCHEMA = "parity.drill/1"
_HEAD = (
    f"{'stage':10} {'planted as':10} {'planted':>7} {'above floor':>11} {'detected':>8} "
    f"{'right place':>11} {'diagnosed':>10} {'wrong':>5}"
)
_SAYS = {
    "real": "changes of code, configuration or artifact",
    "log": "misread log",
    "value": "changed values",
}


def lines(drilled: Drilled) -> Iterator[str]:
    """The table, what is not as it should be, what could not be planted, and what it comes to."""
    options = drilled.options
    yield (
        f"drill of {options.challenger} against {options.reference}, {options.date}: "
        f"{drilled.requests} requests, {drilled.candidates} candidates"
    )
    if drilled.already:
        yield f"differs with nothing planted, and is left out: {', '.join(drilled.already)}"
    yield _HEAD
    yield from _rows(drilled)
    alarms = [one for one in drilled.benign if one.is_false_alarm]
    yield f"benign variations: {len(drilled.benign)}, false alarms: {len(alarms)}"
    for one in alarms:
        yield f"  FALSE ALARM  {one.name}: {one.failed or ', '.join(one.alarms)}"
    for failing, reason in failings(drilled):
        yield f"  {'; '.join(str(case.plant) for case in failing.cases)}: {reason}"
    for means, names in drilled.not_here.items():
        yield f"not possible here as {_SAYS[means]}: {', '.join(names)}"
    yield _summary(drilled)


def _summary(drilled: Drilled) -> str:
    found = defects(drilled)
    told = {0: "PASSED", 1: "FAILED", 3: "NOTHING ABOVE THE FLOOR"}[exit_code(drilled)]
    return (
        f"{told}  missed: {found.missed}, wrong names: {found.wrong_names}, wrong explanations: "
        f"{found.wrong_explanations}, false alarms: {found.false_alarms}"
    )


def _rows(drilled: Drilled) -> Iterator[str]:
    for stage in STAGES:
        for means in MEANS:
            chosen = [
                one
                for one in drilled.singles
                if one.cases[0].stage == stage and one.cases[0].means == means
            ]
            if chosen:
                yield _row(stage, means, count(chosen))
    for means in MEANS:
        chosen = [one for one in drilled.singles if one.cases[0].means == means]
        if chosen:
            yield _row("all", means, count(chosen))
    yield _row("all", "", count(drilled.singles))
    for size, word in ((2, "pairs"), (3, "triples")):
        together = [one for one in drilled.combined if len(one.cases) == size]
        if together:
            yield _row(word, "", count(together))


def content(drilled: Drilled) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    singles, combined = count(drilled.singles), count(drilled.combined)
    return {
        "schema": SCHEMA,
        "exit_code": exit_code(drilled),
        "date": drilled.options.date.isoformat(),
        "reference": drilled.options.reference,
        "challenger": drilled.options.challenger,
        "seed": drilled.options.seed,
        "requests": drilled.requests,
        "candidates": drilled.candidates,
        "already": list(drilled.already),
        "not_compared": list(drilled.not_compared),
        "totals": {
            **plain_from(singles),
            "wrong_names": singles.wrong_names + combined.wrong_names,
            "real": sum(one.cases[0].means == "real" for one in drilled.singles),
            "kinds": len({(one.cases[0].means, one.cases[0].name) for one in drilled.singles}),
            "benign": len(drilled.benign),
            "false_alarms": sum(one.is_false_alarm for one in drilled.benign),
            "combined": combined.above_floor,
            "combined_all_named": combined.right_place,
        },
        "cases": [_case(one) for one in (*drilled.singles, *drilled.combined)],
        "benign": [
            {"name": one.name, "alarms": list(one.alarms), "failed": one.failed}
            for one in drilled.benign
        ],
        "not_here": {means: list(names) for means, names in drilled.not_here.items()},
        "cpu_s": round(drilled.cpu_s, 1),
    }


def _row(stage: str, means: str, counted: Counts) -> str:
    diagnosed = f"{counted.diagnosed}/{counted.with_class}" if counted.with_class else "-"
    wrong = counted.wrong_names + counted.misdiagnosed
    return (
        f"{stage:10} {means:10} {counted.planted:7} {counted.above_floor:11} "
        f"{counted.detected:8} {counted.right_place:11} {diagnosed:>10} {wrong:5}"
    )


def _case(one: Outcome) -> dict[str, Any]:
    return {
        "planted": [str(case.plant) for case in one.cases],
        "name": [case.name for case in one.cases],
        "where": [case.where for case in one.cases],
        "stage": [case.stage for case in one.cases],
        "above_floor": one.is_above,
        "detected": one.is_detected,
        "right_place": one.is_right,
        "expected": list(one.expected),
        "found": list(one.found),
        "missed": list(one.missed),
        "wrong_names": list(one.wrong),
        "failed": one.failed,
        "told": [
            {"checkpoint": t.checkpoint, "kind": t.kind, "text": t.text, "reason": t.reason}
            for t in one.told
        ],
    }
