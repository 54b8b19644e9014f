"""Which requests a training step reads together: random, and yet of like history."""

from __future__ import annotations

import numpy as np

from modern.transformer.inputs import Ints, ModelInputs

# Requests of so many steps are sorted by their history together. All of an epoch sorted would part
# the long histories from the short ones in time; one step's alone would pad all to the longest.
STEPS_SORTED_TOGETHER = 16


def batches_of_epoch(
    inputs: ModelInputs, *, num_candidates: int, rng: np.random.Generator
) -> list[Ints]:
    """All requests once, in steps of about so many candidates; the steps in random order.

    Within a step histories are about as long, since what pads the shorter ones costs as much
    as what is read.

    Args:
        inputs: Of the requests.
        num_candidates: A step ends with the request that fills it.
        rng: The same one gives the same steps.
    """
    order = rng.permutation(len(inputs))
    sizes, lengths = np.diff(inputs.candidate_offsets), np.diff(inputs.step_offsets)
    batches = []
    for together in _cut(order, sizes, STEPS_SORTED_TOGETHER * num_candidates):
        by_length = together[np.argsort(lengths[together], kind="stable")]
        batches += _cut(by_length, sizes, num_candidates)
    return [batches[place] for place in rng.permutation(len(batches))]


def _cut(order: Ints, sizes: Ints, num_candidates: int) -> list[Ints]:
    """Consecutive requests, a new part wherever a multiple of so many candidates is passed."""
    ordered = sizes[order]
    part_of = (np.cumsum(ordered) - ordered) // num_candidates
    return np.split(order, np.flatnonzero(np.diff(part_of)) + 1)
