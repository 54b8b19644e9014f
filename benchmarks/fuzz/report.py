"""What the fuzz targets have run so far, as totals and as a page."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_NAMES = {"artifact": "artifact", "json": "JSON", "ubjson": "UBJSON", "lightgbm": "LightGBM"}
_PAGE = """# The readers on broken input

`make long`: libFuzzer of clang 14 under the address and undefined-behaviour sanitizers, on {machine}, from small real models of
every kind ([seeds.py](../seeds.py)). An accepted input is also scored by a kernel and by a plain walk, which must find the same leaves, and written and
read again, XGBoost's in both formats, which must give the same trees. The aim is 10,000,000 executions a reader. Totals: [fuzz.json](fuzz.json).

| reader | executions | a second of one processor | edges covered | peak memory | crashes, leaks, hangs, broken claims |
| --- | --- | --- | --- | --- | --- |
{rows}

Speed is a processor's own: the machine was shared. The peak includes the sanitizer's memory of freed blocks (16 MiB) and the corpus; an allocation above
256 MiB, or 1 GiB in all, would have ended the run. Edges are those of the code that reads.
{notes}"""


def recorded() -> Mapping[str, Any]:
    """Totals by reader; empty where nothing was recorded."""
    path = RESULTS / "fuzz.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record(reader: str, found: Mapping[str, Any]) -> None:
    """Add one run to the totals and write the page again."""
    totals = dict(recorded())
    before = totals.get(reader, {})

    def added(name: str, more: float) -> float:
        return before.get(name, 0) + more

    totals[reader] = {
        "executions": added("executions", found["executions"]),
        "runs": added("runs", 1),
        "failures": added("failures", found["exit"] != 0),
        "processor_s": round(added("processor_s", found["processor_s"]), 1),
        "covered_edges": found["covered"],
        "peak_mib": max(before.get("peak_mib", 0), found["peak_mib"]),
    }
    totals["machine"] = f"{platform.system()} {platform.machine()}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fuzz.json").write_text(
        json.dumps(totals, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    rows = [_row(name, totals[reader]) for reader, name in _NAMES.items() if reader in totals]
    notes = "".join(f"\n{note}\n" for note in totals.get("notes", []))
    page = _PAGE.format(machine=totals["machine"], rows="\n".join(rows), notes=notes)
    (RESULTS / "fuzz.md").write_text(page, encoding="utf-8")


def _row(name: str, total: Mapping[str, Any]) -> str:
    rate = total["executions"] / total["processor_s"]
    return (
        f"| {name} | {total['executions']:,} | {rate:,.0f} | {total['covered_edges']:,} | "
        f"{total['peak_mib']} MiB | {total['failures']} |"
    )
