from __future__ import annotations

import xml.etree.ElementTree as ET

from modern.training.curves import Curve, svg_of_curves

SVG = "{http://www.w3.org/2000/svg}"


def test_the_curves_are_drawn_where_the_losses_lie() -> None:
    curve = Curve(task="click", fit=[0.9, 0.5, 0.4], stopping=[0.8, 0.6, 0.7])

    root = ET.fromstring(svg_of_curves([curve], best_epoch=2))  # our own text

    fit, stopping = (
        [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
        for line in root.iter(f"{SVG}polyline")
    )
    assert [x for x, _ in fit] == [x for x, _ in stopping] == sorted(x for x, _ in fit)
    heights = {loss: y for loss, (_, y) in zip([0.9, 0.5, 0.4], fit, strict=True)}
    assert heights[0.9] < heights[0.5] < heights[0.4], "y grows downwards: a lower loss is lower"
    assert 0 < min(y for _, y in (*fit, *stopping)) < max(y for _, y in (*fit, *stopping)) < 220
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"click: log loss", "0.900", "0.400", "kept", "epoch 3"} <= set(texts)


def test_an_unknown_loss_leaves_a_gap_and_a_name_is_escaped() -> None:
    curves = [
        Curve(task="a<b", fit=[None, None], stopping=[None, None]),
        Curve(task="one", fit=[0.5], stopping=[None]),
    ]

    root = ET.fromstring(svg_of_curves(curves, best_epoch=1))  # our own text

    assert len(list(root.iter(f"{SVG}polyline"))) == 1
    assert "a<b: log loss" in [t.text for t in root.iter(f"{SVG}text")]
