"""From what the model returns to a rank: logit, pctr, eCPM, the same for every adapted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.adapters.inputs import Rows
from replay.adapters.links import SIGMOID, Link
from replay.adapters.program import Tensor
from replay.checkpoint import Checkpoint, Rounding
from replay.errors import ConfigError, StackError
from replay.request import RequestBatch
from replay.trace import Array, BatchKeys

_ECPM_WHY = "given pctr: 1000 * pctr is exact in float64, times the bid is rounded once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Which tensor is what.

    Attributes:
        logit: The tensor of the log-odds; None where the model gives none.
        pctr: The tensor of the probability; None where it is made from the logit.
        money: The path of the bid, such as "candidate.bid_micros"; None ranks by pctr.
        rows: What the model's rows are. Those of requests hold one column per candidate.
        link: From the logit to pctr, where no tensor is the latter.
        own_link: The model's own code for it, float32 to float32; None: the link itself.
    """

    logit: Tensor | None
    pctr: Tensor | None
    money: str | None
    rows: Rows
    link: Link = SIGMOID
    own_link: Callable[[Array], Array] | None = None

    def pctr_from_logit(self, logit: Array) -> Array:
        """[candidate] float32."""
        return self.link.predicted(logit) if self.own_link is None else self.own_link(logit)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is read of the model."""
        return tuple(one for one in (self.logit, self.pctr) if one is not None)

    def checkpoints(
        self, rounding: Mapping[str, Rounding], after: Mapping[str, tuple[str, ...]]
    ) -> list[Checkpoint]:
        """Their declarations, in causal order, from each tensor's rounding and parents."""
        found = []
        logit = pctr = None
        if self.logit is not None:
            logit = rounding.get(self.logit.name)
            found.append(_read("logit", self.logit, logit, after, unit=self.link.unit))
        if self.pctr is not None:
            pctr = rounding.get(self.pctr.name)
            found.append(_read("pctr", self.pctr, pctr, after, unit="1"))
        else:
            assert logit is not None, "pctr is read, or made from a real logit"
            pctr = self.link.rounding(logit)
            found.append(_output("pctr", "float32", ("logit",), rounding=pctr))
        ranked_by = "pctr"
        if self.money is not None:
            ranked_by = "ecpm_micros"
            found.append(
                _output(
                    "ecpm_micros",
                    "float64",
                    ("pctr",),
                    unit="micros",
                    rounding=Rounding(ulps=0.5, why=_ECPM_WHY),
                )
            )
        found.append(_output("rank", "int32", (ranked_by,), exact=True))
        return found

    def flat(self, values: Array, keys: BatchKeys) -> Array:
        """[candidate]: an output's values, padding left out.

        Raises:
            StackError: A request has more candidates than the model has columns.
        """
        if self.rows == "candidate":
            return values.reshape(len(values))
        return values[_used_columns(values.shape[1], keys)]

    def spread(self, values: Array, keys: BatchKeys) -> Array:
        """An output's tensor from [candidate] values, 0 in its padding: the inverse of `flat`."""
        tensor = self.tensors[0]
        if self.rows == "candidate":
            return values.reshape(len(values), *tensor.shape)
        spread = np.zeros((keys.num_requests, *tensor.shape), values.dtype)
        spread[_used_columns(tensor.shape[0], keys)] = values
        return spread


def _used_columns(columns: int, keys: BatchKeys) -> NDArray[np.bool_]:
    """[request, column]: where a candidate stands.

    Raises:
        StackError: A request has more candidates than the model has columns.
    """
    counts = np.diff(keys.candidate_offsets)
    if counts.max(initial=0) > columns:
        at = int(counts.argmax())
        raise StackError(
            f"a request has {counts[at]} candidates; the model scores {columns}.",
            where=f"request {keys.request_ids[at].as_py()!r}",
            fix="widen the model's candidates, or replay requests that fit",
        )
    used: NDArray[np.bool_] = np.arange(columns) < counts[:, np.newaxis]
    return used


def choose_outputs(
    tensors: Sequence[Tensor],
    *,
    logit: str | None,
    pctr: str | None,
    money: str | None,
    rows: Rows,
    link: Link = SIGMOID,
    own_link: Callable[[Array], Array] | None = None,
) -> Outputs:
    """The tensors that the options name, by checkpoint or by what the model returns.

    Raises:
        ConfigError: None is named, it does not exist, or it is not one number per candidate.
    """
    if logit is None and pctr is None:
        raise ConfigError(
            "neither the logit nor pctr is named.",
            where="the options 'logit' and 'pctr' of a stack",
            fix=f"name one of: {', '.join(tensor.name for tensor in tensors[::-1])}",
        )
    return Outputs(
        logit=None if logit is None else _chosen("logit", logit, tensors, rows),
        pctr=None if pctr is None else _chosen("pctr", pctr, tensors, rows),
        money=money,
        rows=rows,
        link=link,
        own_link=own_link,
    )


def ecpm_from_pctr(pctr: Array, batch: RequestBatch, money: str) -> Array:
    """[candidate] float64: 1000 * pctr * bid."""
    bids = batch.column(money).to_numpy(zero_copy_only=False)
    ecpm: Array = 1000.0 * pctr.astype(np.float64) * bids.astype(np.float64)
    return ecpm


def ranks(values: Array, keys: BatchKeys) -> Array:
    """[candidate] int32: place in its request by falling value, ties by rising ad id; NaN last."""
    requests = keys.request_of("candidate")
    order = np.lexsort((_id_order(keys.ad_ids), -values, requests))
    places = np.empty(len(values), np.int32)
    places[order] = np.arange(len(values)) - keys.candidate_offsets[requests[order]]
    return places


def _chosen(option: str, name: str, tensors: Sequence[Tensor], rows: Rows) -> Tensor:
    by_name = {tensor.name: tensor for tensor in tensors}
    # What the model returns first: it may be called as a module is.
    tensor = by_name.get(f"return.{name}", by_name.get(name))
    where = f"the option '{option}' of a stack"
    if tensor is None:
        raise ConfigError(
            f"the model has no tensor {name!r} (known: {', '.join(by_name)}).",
            where=where,
            fix="name what the model returns, or a module's path",
        )
    fits = tensor.shape in {(), (1,)} if rows == "candidate" else len(tensor.shape) == 1
    if not fits or not tensor.is_real:
        wanted = "one number" if rows == "candidate" else "one column per candidate"
        raise ConfigError(
            f"{name!r} is {tensor.dtype} of shape {list(tensor.shape)} a {rows}, not {wanted}.",
            where=where,
            fix=f"name a tensor of {wanted}; for models over whole requests set batch: request",
        )
    return tensor


def _read(
    name: str,
    tensor: Tensor,
    rounding: Rounding | None,
    after: Mapping[str, tuple[str, ...]],
    *,
    unit: str,
) -> Checkpoint:
    """A tensor the model gives, as an output; its own checkpoint stands before it, if any."""
    parents = after[tensor.name] if tensor.returned else (tensor.name,)
    return _output(name, tensor.dtype, parents, unit=unit, rounding=rounding)


def _output(
    name: str,
    dtype: str,
    after: tuple[str, ...],
    *,
    unit: str = "1",
    exact: bool = False,
    rounding: Rounding | None = None,
) -> Checkpoint:
    return Checkpoint(
        name=name,
        stage="output",
        axes=("candidate",),
        dtype=dtype,
        after=after,
        unit=unit,
        exact=exact,
        rounding=rounding,
    )


def _id_order(ad_ids: pa.Array) -> Array:
    """[candidate], numbers that sort as the ids do; text by its UTF-8 bytes."""
    if pa.types.is_int64(ad_ids.type):
        return np.asarray(ad_ids.to_numpy(zero_copy_only=False))
    dense = pc.rank(ad_ids.cast(pa.binary()), sort_keys="ascending", tiebreaker="dense")
    return np.asarray(dense.to_numpy(zero_copy_only=False))
