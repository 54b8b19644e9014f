"""The benchmark's figures as one table of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modern.bench.accuracy import Accuracy
from modern.bench.floor import Rates
from modern.bench.measure import Row

_COLUMNS = (
    *("form", "requests", "precision", "mode", "device ms p50", "p99", "a request", "call ms p50"),
    *("p99", "candidates/s", "floor ms", "x floor", "logit error", "max dp", "sum p", "first s"),
)


def render(facts: Mapping[str, Any], rates: Rates, rows: Sequence[Row]) -> str:
    """Facts, the device's rates, then a line a row; errors are against float64."""
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), _rates(rates), ""]
    cells = [_COLUMNS, *(_cells(row) for row in rows if row.failed is None)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_COLUMNS))]
    lines += [
        "  ".join(
            text.ljust(width) if place in {0, 2, 3} else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines += [f"failed: {row.case.name}: {row.failed}" for row in rows if row.failed is not None]
    return "\n".join(lines)


def _rates(rates: Rates) -> str:
    parts = [f"memory {rates.copy_bytes_s / 1e9:,.0f} GB/s"]
    if rates.to_device_bytes_s is not None:
        parts.append(f"host to device {rates.to_device_bytes_s / 1e9:,.1f} GB/s")
    parts += [f"{name} {flop / 1e12:,.2f} TFLOP/s" for name, flop in rates.product_flop_s.items()]
    return "measured in this run: " + ", ".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    case = row.case
    return (
        *(case.form, str(case.requests), case.precision, case.mode),
        *(f"{row.device_p50_ms:.3f}", f"{row.device_p99_ms:.3f}"),
        f"{row.device_p50_ms / case.requests:.4f}",
        *(f"{row.call_p50_ms:.3f}", f"{row.call_p99_ms:.3f}"),
        f"{row.candidates_per_s:,.0f}",
        *(f"{row.floor_ms:.4f}", f"{row.device_p50_ms / row.floor_ms:.1f}"),
        *_errors(row.accuracy),
        f"{row.first_s:.1f}",
    )


def _errors(accuracy: Accuracy | None) -> tuple[str, str, str]:
    if accuracy is None:
        return ("-", "-", "-")
    return (
        f"{accuracy.logit_error:.1e}",
        f"{accuracy.largest_dp:.1e}",
        f"{accuracy.sum_p_ratio:.6f}",
    )
