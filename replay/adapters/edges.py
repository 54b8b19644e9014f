"""What each tensor is computed from: the program's own dataflow, and single columns by trial.

Dataflow says which tensors and inputs a tensor reads. Which columns of a matrix it reads is seen
by changing one column after another: a column that changes nothing, whatever is put into it, is
not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from replay.adapters.inputs import InputSpec
from replay.adapters.program import Program, few_rows
from replay.trace import Array


def parents_of(
    program: Program, specs: Sequence[InputSpec], inputs: Mapping[str, Array]
) -> dict[str, tuple[str, ...]]:
    """Tensor to the checkpoints it is computed from: tensors nearest first, then features."""
    rows = few_rows(program, inputs)
    read = {
        spec.name: {
            tensor.name: frozenset(spec.features)
            for tensor in program.tensors
            if spec.name in tensor.inputs
        }
        for spec in specs
    }
    for spec in specs:
        if len(spec.columns) > 1:
            read[spec.name] = _columns_read(program, spec, rows, sorted(read[spec.name]))
    return {
        tensor.name: (
            *tensor.after,
            *(
                feature
                for spec in specs
                for feature in spec.features
                if feature in read[spec.name].get(tensor.name, ())
            ),
        )
        for tensor in program.tensors
    }


def _columns_read(
    program: Program, spec: InputSpec, rows: Mapping[str, Array], readers: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Reader to the columns that move it, everything else it reads held as it is."""
    everything = [tensor.name for tensor in program.tensors]
    free = program.run(rows, record=everything)
    held = {tensor.name: free[tensor.name] for tensor in program.tensors if not tensor.returned}
    moved: dict[str, set[str]] = {name: set() for name in readers}
    for place, feature in enumerate(spec.features):
        for column in changes_of(rows[spec.name][:, place]):
            left = [name for name in readers if feature not in moved[name]]
            if not left:
                break
            changed = rows[spec.name].copy()
            changed[:, place] = column
            answered = program.run({**rows, spec.name: changed}, record=left, given=held)
            for name in left:
                if answered[name].tobytes() != free[name].tobytes():
                    moved[name].add(feature)
    # Dataflow knows better than a trial that moved nothing at all.
    return {name: frozenset(found or spec.features) for name, found in moved.items()}


def changes_of(values: Array) -> Iterator[Array]:
    """Values that an input, or a column of one, could hold instead; integers only such as it does hold."""
    yield np.roll(values, 1, axis=0)
    yield values[::-1].copy()
    if values.dtype.kind == "f":
        yield (values * 1.5 + 0.25).astype(values.dtype)
        for value in (-1e3, 1e3):
            yield np.full_like(values, value)
    else:
        for value in np.unique(values)[:8]:
            yield np.full_like(values, value)
