"""Tolerances that look at a whole sample: noise channel by channel, and an envelope of differences.

One value says little: a wrong weight may move every value of a channel by less than rounding moves
the worst of them. Over many rows rounding averages out and a fault does not, so both tolerances
compare a statistic of all rows with what was measured for honest arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Mask = NDArray[np.bool_]

# A single value against its channel's bound: the largest of 1,280 rows stood 12 times above its
# channel's noise (GELU in PyTorch against ONNX Runtime, docs/tolerances.md), a bound is 4 times,
# and a log has millions of rows. A fault in a single row of an embedding is thousands of times above.
PEAK = 16.0
# A channel that was silent when it was measured gets a part of what the others make.
SILENT = 0.125
WORST = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelNoise:
    """What rounding makes in each channel of the last axis, and how often that much is allowed.

    A channel differs when the root mean square of its differences over all rows exceeds
    `margin` times its noise, and a value when it exceeds `PEAK` times that. Where the reference's
    values are larger than they were when the noise was measured, the noise is as much larger.

    Attributes:
        margin: In units of the noise.
        noise: [channel], root mean square of honest differences; one for a checkpoint without
            inner axes.
        size: [channel], root mean square of the reference's values then.
        total: Bound of one value end to end, where the sides declare no rounding; None else.
        why: How it was measured.
    """

    kind: Literal["channel_noise"] = "channel_noise"
    margin: float
    noise: tuple[float, ...]
    size: tuple[float, ...]
    total: float | None = None
    why: str

    def bounds(self, reference: NDArray[Any]) -> _Floats:
        """[channel]: the largest root mean square that is allowed.

        Args:
            reference: [row, *inner], the reference's values.
        """
        noise = np.asarray(self.noise, np.float64)
        noise = np.maximum(noise, SILENT * math.sqrt(float(np.mean(noise**2))))
        size = np.asarray(self.size, np.float64)
        grown = _rms(_by_channel(reference, len(size)))
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.where(size > 0.0, np.maximum(1.0, grown / size), 1.0)
        bounds: _Floats = self.margin * noise * growth
        return bounds

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> _Floats:
        """The bound of every single value, in float64."""
        shape = np.broadcast(reference, challenger).shape
        bounds = PEAK * self.bounds(reference)
        repeats = math.prod(shape) // len(bounds)
        return np.tile(bounds, repeats).reshape(shape)

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: _Floats | float = 0.0
    ) -> _Mask:
        """[row, *inner]: values of a channel that differs, beyond its bound; NaN always is."""
        bounds = self.bounds(reference)
        apart = _by_channel(_apart(reference, challenger, slack), len(bounds))
        noisy = ~(_rms(apart) <= bounds)
        beyond: _Mask = ~(apart <= PEAK * bounds) | (noisy & ~(apart <= bounds))
        return beyond.reshape(np.broadcast(reference, challenger).shape)

    def of_columns(self, columns: NDArray[np.int64]) -> ChannelNoise:
        """For some columns of [row, column], where a row holds all channels once or several times."""
        channels = columns % len(self.noise)
        return replace(
            self,
            noise=tuple(self.noise[channel] for channel in channels),
            size=tuple(self.size[channel] for channel in channels),
        )

    def text(self) -> str:
        """As reports show it."""
        return f"{self.margin:g} x the noise of each channel: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """How differences of a checkpoint may be distributed, as of one precision against another.

    Attributes:
        rms: Largest root mean square of the differences.
        p99: Largest 99th percentile of their sizes.
        most: Largest size of any.
        shift: Largest size of their mean: noise has none, skew does.
        why: How it was measured.
    """

    kind: Literal["envelope"] = "envelope"
    rms: float
    p99: float
    most: float
    shift: float
    why: str

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> _Floats:
        """The bound of every single value, in float64."""
        return np.full(np.broadcast(reference, challenger).shape, self.most)

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: _Floats | float = 0.0
    ) -> _Mask:
        """Values beyond whichever bound the sample exceeds; there is one for each of them."""
        signed = _signed(reference, challenger)
        apart = np.maximum(np.abs(signed) - slack, 0.0)
        beyond: _Mask = ~(apart <= self.most)
        if not apart.size:
            return beyond
        finite = np.where(np.isfinite(signed), signed, 0.0)
        if _rms(np.abs(finite).reshape(-1, 1))[0] > self.rms:
            beyond |= apart > self.rms
        if np.quantile(np.abs(finite), WORST, method="inverted_cdf") > self.p99:
            beyond |= apart > self.p99
        mean = math.fsum(finite.ravel()) / finite.size
        if abs(mean) > self.shift:
            beyond |= finite * math.copysign(1.0, mean) > self.shift
        return beyond

    def text(self) -> str:
        """As reports show it."""
        return (
            f"rms {self.rms:.3g}, 99 % within {self.p99:.3g}, all within {self.most:.3g}, mean "
            f"within {self.shift:.3g}: {self.why}"
        )


Sampled = ChannelNoise | Envelope


def sampled_json(entry: Sampled) -> dict[str, Any]:
    """As plain JSON values."""
    if isinstance(entry, Envelope):
        names = ("kind", "rms", "p99", "most", "shift", "why")
        return {name: getattr(entry, name) for name in names}
    plain = {name: getattr(entry, name) for name in ("kind", "margin", "total", "why")}
    return plain | {"noise": list(entry.noise), "size": list(entry.size)}


def sampled_from_json(value: Mapping[str, Any]) -> Sampled:
    """The tolerance that `sampled_json` wrote.

    Raises:
        ValueError: Another form, or figures that bound nothing.
    """
    found: Sampled
    try:
        if value.get("kind") == "envelope":
            found = Envelope(**value)
            figures = [found.rms, found.p99, found.most, found.shift]
        else:
            channels = {name: tuple(value[name]) for name in ("noise", "size")}
            found = ChannelNoise(**{**value, **channels})
            figures = [found.margin, *found.noise, *found.size, found.total or 0.0]
            if not found.noise or len(found.noise) != len(found.size):
                raise ValueError(f"{len(found.noise)} channels of noise, {len(found.size)} of size")
    except (KeyError, TypeError) as error:
        raise ValueError(f"it holds {sorted(value)}: {error}") from error
    if not all(math.isfinite(figure) and figure >= 0.0 for figure in figures):
        raise ValueError("a figure is negative or not finite")
    if not found.why.strip():
        raise ValueError("it has no reason")
    return found


def _by_channel(values: NDArray[Any], channels: int) -> _Floats:
    """[row of channels, channel]: the last axis is the channels'."""
    return np.asarray(values, np.float64).reshape(-1, channels)


def _signed(reference: NDArray[Any], challenger: NDArray[Any]) -> _Floats:
    with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, which is beyond any bound
        signed: _Floats = np.asarray(challenger, np.float64) - np.asarray(reference, np.float64)
    return signed


def _apart(reference: NDArray[Any], challenger: NDArray[Any], slack: _Floats | float) -> _Floats:
    return np.maximum(np.abs(_signed(reference, challenger)) - slack, 0.0)


def _rms(values: _Floats) -> _Floats:
    """[channel]: root mean square over rows, in an order of its own: rows may come in any."""
    if not len(values):
        return np.zeros(values.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.sort(values**2, axis=0)
    return np.asarray(np.sqrt(np.sum(squares, axis=0) / len(squares)))
