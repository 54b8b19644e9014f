"""Cost against size as a picture: logarithmic axes, drawn by hand as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 34, 44
# Okabe and Ito's colours: told apart by everyone, and in print.
COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
Points = Sequence[tuple[float, float]]


def svg_of_panels(panels: Sequence[tuple[str, str, Mapping[str, Points]]]) -> str:
    """A panel for each (title, name of the x axis, lines); milliseconds on the y axis."""
    width = WIDTH * len(panels)
    drawn = [_panel(*panel, left=WIDTH * place) for place, panel in enumerate(panels)]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
                f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
            ),
            f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _panel(title: str, axis: str, lines: Mapping[str, Points], *, left: int) -> str:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    low, high = 10 ** floor(log10(min(ys))), 10 ** (floor(log10(max(ys))) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = log10(x / min(xs)) / log10(max(xs) / min(xs))
        up = log10(y / low) / log10(high / low)
        return (
            left + LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<text x="{left + LEFT}" y="18" font-weight="bold">{title}</text>']
    y = low
    while y <= high:
        x0, height = place(min(xs), y)
        parts += [
            (
                f'<line x1="{x0:.1f}" y1="{height:.1f}" x2="{left + WIDTH - RIGHT}" '
                f'y2="{height:.1f}" stroke="#ddd"/>'
            ),
            f'<text x="{x0 - 6:.1f}" y="{height + 4:.1f}" text-anchor="end">{y:g} ms</text>',
        ]
        y *= 10
    for x in sorted(set(xs)):
        across, base = place(x, low)
        parts.append(
            f'<text x="{across:.1f}" y="{base + 15:.1f}" text-anchor="middle">{x:g}</text>'
        )
    parts.append(f'<text x="{left + LEFT}" y="{HEIGHT - 10}">{axis}</text>')
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        at = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at),
            f'<text x="{at[0][0] + 4:.1f}" y="{at[0][1] - 6:.1f}" fill="{colour}">{name}</text>',
        ]
    return "\n".join(parts)
