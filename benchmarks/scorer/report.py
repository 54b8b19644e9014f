"""The figures as a page and as a plot."""

from __future__ import annotations

import math
from typing import Any

_BEST = (
    ("value", "best value peer"),
    ("leaf", "best leaf + LR peer"),
    ("other", "best other model"),
)


def best(of_threads: dict[str, Any], kind: str, count: str) -> tuple[str, float] | None:
    """The fastest engine of a kind, and how many times our time it takes."""
    ratios = of_threads["times_ours"][count]
    peers = [(ratios[name], name) for name, k in of_threads["kinds"].items() if k == kind]
    return (min(peers)[1], min(peers)[0]) if peers else None


def as_text(figures: dict[str, Any]) -> str:
    """Markdown: a table a shape and number of threads."""
    machine = figures["machine"]
    lines = [
        "# The scorer against its peers",
        "",
        (
            f"Nanoseconds a row, called from Python, median of {figures['rounds']} interleaved "
            f"rounds; ratios are medians of the rounds' ratios. {machine['processor']}, "
            f"{machine['threads']} hardware threads, Python {machine['python']}, load "
            f"{machine['load before']:.1f} before. One thread is processor time, two are wall time."
        ),
        "",
        "![ratios](scorer.svg)",
    ]
    for name, shape in figures["shapes"].items():
        for threads, of_threads in shape.items():
            counts = list(of_threads["ns_per_row"])
            plural = "" if threads == "1" else "s"
            lines += [
                "",
                f"## Shape {name}, {threads} thread{plural}",
                "",
                "| | "
                + " | ".join(f"{int(c):,} row{'' if c == '1' else 's'}" for c in counts)
                + " |",
                "| --- |" + " --- |" * len(counts),
            ]
            for engine, kind in of_threads["kinds"].items():
                cells = [f"{of_threads['ns_per_row'][c][engine]:,.0f}" for c in counts]
                shown = engine if kind == "ours" else f"{engine} {of_threads['versions'][engine]}"
                shown += ", another model" if kind == "other" else ""
                lines.append(f"| {shown} | " + " | ".join(cells) + " |")
            for kind, title in _BEST:
                found = [best(of_threads, kind, count) for count in counts]
                cells = [f"{each[1]:.1f}x ({each[0]})" if each else "-" for each in found]
                lines.append(f"| **{title} / ours** | " + " | ".join(cells) + " |")
            differs = ", ".join(
                f"{engine} {by:.1e}"
                for engine, by in of_threads["differs_by"].items()
                if of_threads["kinds"][engine] != "ours"
            )
            lines += ["", f"Largest difference of a probability from ours: {differs}"]
            absent = [f"{engine} ({why})" for engine, why in of_threads["absent"].items()]
            if absent:
                lines += ["", "Not measured: " + "; ".join(absent) + "."]
    return "\n".join(lines) + "\n"


def as_plot(figures: dict[str, Any]) -> str:
    """SVG: how many times our time each engine takes, one thread, on a logarithmic scale."""
    bars: list[str] = []
    colours = {"ours": "#888", "value": "#4878cf", "leaf": "#d65f5f", "other": "#b47cc7"}
    y = 40
    left, wide, most = 260, 460, 3.5  # Up to 10^3.5 times.
    for name, shape in figures["shapes"].items():
        of_threads = shape.get("1") or next(iter(shape.values()))
        for count in of_threads["times_ours"]:
            bars.append(
                f'<text x="8" y="{y}" font-weight="bold">{name}, {int(count):,} rows</text>'
            )
            y += 8
            for engine, kind in of_threads["kinds"].items():
                ratio = of_threads["times_ours"][count][engine]
                width = max(1.0, wide * math.log10(max(ratio, 1.0)) / most)
                bars.append(
                    f'<text x="{left - 6}" y="{y + 9}" text-anchor="end">{engine}</text>'
                    f'<rect x="{left}" y="{y}" width="{width:.1f}" height="10" '
                    f'fill="{colours[kind]}"/>'
                    f'<text x="{left + width + 4:.1f}" y="{y + 9}">{ratio:,.1f}x</text>'
                )
                y += 13
            y += 22
    legend = "grey ours, blue value, red leaves + regression, violet another model of the same size"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{y}" '
        'font-family="sans-serif" font-size="11">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="8" y="18">Time against ours, one thread, logarithmic: {legend}</text>\n'
        + "\n".join(bars)
        + "\n</svg>\n"
    )
