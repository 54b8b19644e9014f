"""Whose rows they are: requests of a shard by hash, for samples and examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.compare.counts import Kept, SampledRequest
from parity.compare.request_hash import request_hashes
from parity.judge.report import Example
from parity.tolerance import Mask
from replay.checkpoint import RowAxis
from replay.errors import StackError
from replay.request import RequestBatch
from replay.trace import Array, Trace

Shown = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardRows:
    """The compared requests of a shard.

    Attributes:
        shard: The shard's id.
        batch: The requests that both stacks scored.
        places: [request], the row of each among the shard's valid requests.
        hashes: [request], see `request_hashes`.
    """

    shard: str
    batch: RequestBatch
    places: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    def requests_with(self, differs: Mask, axis: RowAxis) -> Mask:
        """[request]: those with any row of the mask."""
        found = np.zeros(self.batch.num_requests, dtype=np.bool_)
        if differs.any():
            found[self.batch.keys.request_of(axis)[differs]] = True
        return found

    def first_requests(self, requests: Mask, limit: int) -> tuple[SampledRequest, ...]:
        """The first few requests of a mask, by hash."""
        ids = self.batch.keys.request_ids
        return tuple(
            SampledRequest(
                request_hash=int(self.hashes[request]),
                shard=self.shard,
                row=int(self.places[request]),
                request_id=ids[request].as_py(),
            )
            for request in self._by_hash(requests, limit)
        )

    def examples(
        self,
        differs: Mask,
        axis: RowAxis,
        limit: int,
        values: Callable[[int], tuple[Shown, Shown]],
    ) -> tuple[Kept, ...]:
        """The first differing row of each of the first few requests, by hash.

        Args:
            differs: [row].
            axis: What the rows are.
            limit: How many.
            values: A row to the reference's and the challenger's value.
        """
        rows = np.flatnonzero(differs)
        if len(rows) == 0:
            return ()
        keys = self.batch.keys
        requests, first = np.unique(keys.request_of(axis)[rows], return_index=True)
        row_of = dict(zip(requests.tolist(), rows[first].tolist(), strict=True))
        wanted = np.zeros(self.batch.num_requests, dtype=np.bool_)
        wanted[requests] = True
        return tuple(
            Kept(
                request_hash=int(self.hashes[request]),
                shard=self.shard,
                row=int(self.places[request]),
                example=_example(
                    keys.request_ids[request].as_py(),
                    keys.ad_ids[row_of[request]].as_py() if axis == "candidate" else None,
                    values(row_of[request]),
                ),
            )
            for request in self._by_hash(wanted, limit)
        )

    def _by_hash(self, requests: Mask, limit: int) -> list[int]:
        places = np.flatnonzero(requests)
        order = np.lexsort((self.places[places], self.hashes[places]))
        return [int(place) for place in places[order[:limit]]]


def rows_of_shard(shard: str, batch: RequestBatch, valid: RequestBatch) -> ShardRows:
    """The compared requests among the valid ones of a shard, whose ids are unique."""
    ids = batch.keys.request_ids
    if ids.equals(valid.keys.request_ids):
        places = np.arange(len(ids), dtype=np.int64)
    else:
        row_of = {
            request_id: row for row, request_id in enumerate(valid.keys.request_ids.to_pylist())
        }
        places = np.array([row_of[request_id] for request_id in ids.to_pylist()], dtype=np.int64)
    return ShardRows(shard=shard, batch=batch, places=places, hashes=request_hashes(ids))


def check_rows(batch: RequestBatch, trace: Trace) -> None:
    """Refuse a trace whose rows are not the batch's, before anything is compared by place.

    Raises:
        StackError: Naming the first request that is missing, doubled or moved.
    """
    if trace.keys.same_rows(batch.keys):
        return
    wanted, found = batch.keys.request_ids.to_pylist(), trace.keys.request_ids.to_pylist()
    apart = (
        place for place, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other
    )
    place = next(apart, min(len(wanted), len(found)))
    first = repr(wanted[place]) if place < len(wanted) else "none"
    what = f"{len(found)} requests came back for {len(wanted)}; first at fault: {first}."
    if wanted == found:
        what = "the candidates or history rows of a request were dropped, doubled or moved."
    raise StackError(
        what,
        where=f"the trace of stack {trace.stack!r}",
        fix="record one row for each logged row, in the batch's order",
    )


def shown(values: Array, *, missing: bool) -> Shown:
    """A value as an example shows it: a plain number, None where it is missing."""
    value = values.item()
    if missing and value != value:  # noqa: PLR0124  # NaN, of any float type
        return None
    return int(value) if isinstance(value, bool) else value


def _example(request_id: str, ad_id: object, values: tuple[Shown, Shown]) -> Example:
    return Example(
        request_id=request_id,
        ad_id=None if ad_id is None else str(ad_id),
        reference=values[0],
        challenger=values[1],
    )
