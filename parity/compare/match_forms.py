"""Checkpoints that could be one another: of one stage, kind, rows and inner shape."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import mismatch
from parity.compare.match_names import name_matrix
from parity.compare.match_values import Values, values_of
from parity.tolerance import Floats
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.trace import Trace

# What a proposal's score is made of (a decision): structure before values, so that one wrong
# value moves no match; names last, since they are what the two sides do not share.
STRUCTURE, VALUES, NAMES = 0.45, 0.4, 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """The open checkpoints of one form, the reference's as rows, the challenger's as columns.

    Attributes:
        rows: The reference's, in execution order.
        columns: The challenger's.
        names: [row, column], how alike the names are.
        values: What the recorded values say; None without a witness.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    names: Floats
    values: Values | None

    def scores(self, structure: Floats) -> Floats:
        """[row, column] in [0, 1]."""
        if self.values is None:
            return (STRUCTURE * structure + NAMES * self.names) / (STRUCTURE + NAMES)
        return STRUCTURE * structure + VALUES * self.values.score + NAMES * self.names

    def is_equal(self) -> NDArray[np.bool_]:
        """[row, column]: where values agree and say something."""
        return np.zeros(self.names.shape, np.bool_) if self.values is None else self.values.equal


def forms_of(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
    open_names: tuple[Collection[str], Collection[str]],
    witness: tuple[Trace, Trace] | None,
) -> tuple[Form, ...]:
    """The forms that both sides have open checkpoints of."""
    labels = labels_of(graphs)
    found = []
    for label in dict.fromkeys(labels[0][name] for name in graphs[0] if name in open_names[0]):
        rows, columns = (
            tuple(name for name in graph if name in names and side[name] == label)
            for graph, names, side in zip(graphs, open_names, labels, strict=True)
        )
        if columns:
            found.append(
                Form(
                    rows=rows,
                    columns=columns,
                    names=name_matrix(rows, columns),
                    values=None if witness is None else values_of(graphs, witness, (rows, columns)),
                )
            )
    return tuple(found)


def labels_of(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
) -> tuple[dict[str, int], dict[str, int]]:
    """Name to a number; two checkpoints have the same one when they could be compared."""
    shown: list[Checkpoint] = []
    labels: list[dict[str, int]] = []
    for graph in graphs:
        labels.append({})
        for name, checkpoint in graph.items():
            like = (k for k, one in enumerate(shown) if mismatch(one, checkpoint) is None)
            label = next(like, len(shown))
            if label == len(shown):
                shown.append(checkpoint)
            labels[-1][name] = label
    return labels[0], labels[1]
