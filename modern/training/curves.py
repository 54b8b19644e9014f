"""The learning curves of a training as a picture: a panel for each task, drawn by hand as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 34
# Okabe and Ito's blue and vermilion: told apart by everyone, and in print.
COLOURS: Mapping[str, str] = {"fit": "#0072b2", "stopping": "#d55e00"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One task's log loss by epoch, in nats; None where nothing was known.

    Attributes:
        fit: On the rows the weights are fitted to, as they are fitted (dropout on).
        stopping: On the rows that choose the epoch, with the averaged weights.
    """

    task: str
    fit: Sequence[float | None]
    stopping: Sequence[float | None]


def svg_of_curves(curves: Sequence[Curve], *, best_epoch: int) -> str:
    """A self-contained SVG; the kept epoch is marked."""
    panels = [_panel(curve, best_epoch, WIDTH * place) for place, curve in enumerate(curves)]
    width = WIDTH * len(curves)
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
                f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
            ),
            f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
            *panels,
            "</svg>\n",
        ]
    )


def _panel(curve: Curve, best_epoch: int, left: int) -> str:
    lines = {"fit": curve.fit, "stopping": curve.stopping}
    known = [loss for line in lines.values() for loss in line if loss is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high == low:
        low, high = low - 0.5, high + 0.5
    epochs = max(len(curve.fit), 2)

    def x(epoch: int) -> float:
        return LEFT + (epoch - 1) / (epochs - 1) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    parts = [
        f'<g transform="translate({left} 0)">',
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(curve.task)}: log loss</text>',
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>',
        *(
            f'<text x="{LEFT - 4}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3f}</text>'
            for loss in (low, high)
        ),
        f'<text x="{x(1):.1f}" y="{floor + 14}" text-anchor="middle">1</text>',
        f'<text x="{x(epochs):.1f}" y="{floor + 14}" text-anchor="end">epoch {epochs}</text>',
        f'<path d="M{x(best_epoch):.1f} {TOP}V{floor}" stroke="#888" stroke-dasharray="3 3"/>',
        f'<text x="{x(best_epoch):.1f}" y="{TOP - 4}" text-anchor="middle" fill="#555">kept</text>',
    ]
    for place, (name, losses) in enumerate(lines.items()):
        points = [
            f"{x(number):.1f},{y(loss):.1f}"
            for number, loss in enumerate(losses, start=1)
            if loss is not None
        ]
        if points:
            colour = COLOURS[name]
            parts += [
                (
                    f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
                    'stroke-width="1.5"/>'
                ),
                (
                    f'<text x="{WIDTH - RIGHT}" y="{TOP + 12 + 14 * place}" text-anchor="end" '
                    f'fill="{colour}">{name}</text>'
                ),
            ]
    return "\n".join([*parts, "</g>"])
