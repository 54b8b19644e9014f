"""How much two values may differ, in which unit, and why: every tolerance carries its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parity.noise import ChannelNoise, Envelope, Sampled
from replay.checkpoint import Checkpoint
from replay.errors import ConfigError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Kind = Literal["exact", "ulps", "absolute"]
KINDS: tuple[Kind, ...] = ("exact", "ulps", "absolute")

# 1000 * pctr * bid from given float32 pctr: 1000 * pctr is exact in float64, and the product is
# rounded once, or twice where the bid is multiplied first. So one ulp a side.
_ECPM_WHY = "1000 * pctr * bid in float64 from a given pctr: one ulp a side"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Any difference counts; -0.0 equals 0.0, and integers never pass through a float."""

    why: str

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> Floats:
        """Zero for every value."""
        return np.zeros(np.broadcast(reference, challenger).shape)

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: Floats | float = 0.0
    ) -> Mask:
        """Which values differ; NaN differs from everything."""
        differs: Mask = np.not_equal(reference, challenger)
        if isinstance(slack, float) and slack == 0.0:
            return differs
        return differs & _beyond(reference, challenger, slack)

    def text(self) -> str:
        return f"exact: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulps:
    """Units in the last place of the coarser of the two dtypes, at the larger of the two values."""

    count: float
    why: str

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> Floats:
        """The bound of every value, in float64."""
        bounds: Floats = self.count * ulp(reference, challenger)
        return bounds

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: Floats | float = 0.0
    ) -> Mask:
        """Which values lie further apart; NaN always does."""
        return _beyond(reference, challenger, self.allowed(reference, challenger) + slack)

    def text(self) -> str:
        return f"{_amount(self)}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absolute:
    """A fixed bound in the checkpoint's own unit."""

    bound: float
    why: str

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> Floats:
        """The bound of every value, in float64."""
        return np.full(np.broadcast(reference, challenger).shape, self.bound)

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: Floats | float = 0.0
    ) -> Mask:
        """Which values lie further apart; NaN always does."""
        return _beyond(reference, challenger, self.bound + slack)

    def text(self) -> str:
        return f"{_amount(self)}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Two bounds that add: a value is rounded, and terms before it were."""

    ulps: Ulps
    absolute: Absolute

    @property
    def why(self) -> str:
        """The reason of both parts, once where it is one."""
        return " + ".join(dict.fromkeys((self.ulps.why, self.absolute.why)))

    def allowed(self, reference: NDArray[Any], challenger: NDArray[Any]) -> Floats:
        """The bound of every value, in float64."""
        return self.ulps.allowed(reference, challenger) + self.absolute.bound

    def exceeded(
        self, reference: NDArray[Any], challenger: NDArray[Any], slack: Floats | float = 0.0
    ) -> Mask:
        """Which values lie further apart; NaN always does."""
        return _beyond(reference, challenger, self.allowed(reference, challenger) + slack)

    def text(self) -> str:
        return f"{_amount(self.ulps)} + {_amount(self.absolute)}: {self.why}"


Tolerance = Exact | Ulps | Absolute | Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTolerance:
    """A tolerance that a plan states in place of the derived one."""

    kind: Kind
    value: float = 0.0
    why: str

    def tolerance(self) -> Tolerance:
        """The tolerance it stands for."""
        if self.kind == "exact":
            return Exact(why=self.why)
        if self.kind == "ulps":
            return Ulps(count=self.value, why=self.why)
        return Absolute(bound=self.value, why=self.why)


Planned = PlannedTolerance | Sampled


def tolerance_for(
    reference: Checkpoint, challenger: Checkpoint, planned: Mapping[str, Planned]
) -> Tolerance:
    """The tolerance of an aligned pair's single values, from the plan or from both declarations.

    Discrete values are exact. A real one may move by the rounding bound of either side, so
    the two one-sided bounds are added; a side that declares `exact` adds nothing. What the
    plan allows a whole sample is `sampled_for`; here only its bound of one value counts.

    Args:
        reference: The reference's declaration; the plan speaks of its name.
        challenger: The challenger's.
        planned: Name or glob to tolerance. A name goes before a glob, a longer glob before a
            shorter one.

    Raises:
        ConfigError: A real checkpoint has no bound on either side and none in the plan (there
            is no default), or the plan loosens a discrete one.
    """
    stated = best_match(reference.name, planned)
    discrete = np.dtype(reference.dtype).kind != "f"
    if stated is not None:
        chosen = _of_one_value(planned[stated])
        if chosen is None:
            return _derived(reference, challenger)
        if discrete and not isinstance(chosen, Exact):
            raise ConfigError(
                f"the plan allows {planned[stated].why!r} at {reference.name!r}, which is discrete.",
                where=f"the plan's tolerances, {stated!r}",
                fix="compare it exactly, or leave it out with a reason",
            )
        return chosen
    if discrete:
        return Exact(why="discrete, any difference counts")
    if reference.exact and challenger.exact:
        return Exact(why="both sides declare it exact")
    return _derived(reference, challenger)


def sampled_for(reference: Checkpoint, planned: Mapping[str, Planned]) -> Sampled | None:
    """What the plan allows a whole sample of a pair's values; None where it looks at each alone.

    Raises:
        ConfigError: The noise was measured for another number of channels.
    """
    stated = best_match(reference.name, planned)
    entry = None if stated is None else planned[stated]
    if not isinstance(entry, ChannelNoise | Envelope):
        return None
    channels = reference.shape[-1] if reference.shape else 1
    if isinstance(entry, ChannelNoise) and len(entry.noise) != channels:
        raise ConfigError(
            f"{reference.name!r} has {channels} channels, its noise was measured for "
            f"{len(entry.noise)}.",
            where=f"the plan's tolerances, {stated!r}",
            fix="measure again: parity calibrate --reference ... --challenger ...",
        )
    return entry


def best_match(name: str, globs: Mapping[str, Any]) -> str | None:
    """The key that speaks of a name: itself, else the longest glob, ties by alphabet."""
    if name in globs:
        return name
    fitting = [glob for glob in globs if fnmatchcase(name, glob)]
    return min(fitting, key=lambda glob: (-len(glob), glob), default=None)


def ulp(reference: NDArray[Any], challenger: NDArray[Any]) -> Floats:
    """The unit in the last place of the coarser dtype, at the larger magnitude, in float64.

    NaN and infinity have none: NaN.
    """
    coarser = max(
        (np.finfo(reference.dtype), np.finfo(challenger.dtype)), key=lambda info: float(info.eps)
    )
    magnitude = np.maximum(np.abs(reference), np.abs(challenger))
    # The exponent's bits alone are the power of two at or below; of NaN, too, they are infinity's.
    words = f"u{magnitude.dtype.itemsize}"
    exponent = np.array(np.inf, magnitude.dtype).view(words)
    power: Floats = (magnitude.view(words) & exponent).view(magnitude.dtype).astype(np.float64)
    units: Floats = np.maximum(power, float(coarser.tiny)) * float(coarser.eps)
    return np.where(np.isfinite(power), units, np.nan)


def _of_one_value(entry: Planned) -> Tolerance | None:
    """What a plan's entry allows a single value; None where the declarations say."""
    if isinstance(entry, PlannedTolerance):
        return entry.tolerance()
    if isinstance(entry, Envelope):
        return Absolute(bound=entry.most, why=entry.why)
    return None if entry.total is None else Absolute(bound=entry.total, why=entry.why)


def _beyond(reference: NDArray[Any], challenger: NDArray[Any], allowed: Floats | float) -> Mask:
    with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, which is beyond any bound
        distance = np.abs(
            np.asarray(reference, dtype=np.float64) - np.asarray(challenger, dtype=np.float64)
        )
        within: Mask = distance <= allowed
    return ~within


def _derived(reference: Checkpoint, challenger: Checkpoint) -> Tolerance:
    if (
        reference.name == "ecpm_micros"
        and reference.rounding is None
        and challenger.rounding is None
    ):
        return Ulps(count=2.0, why=_ECPM_WHY)
    ulps = absolute = 0.0
    whys: dict[str, str] = {}
    for side, checkpoint in (("reference", reference), ("challenger", challenger)):
        if checkpoint.rounding is not None:
            ulps += checkpoint.rounding.ulps
            absolute += checkpoint.rounding.absolute
            whys[side] = checkpoint.rounding.why
        elif checkpoint.exact:
            whys[side] = "declared exact"
        else:
            raise ConfigError(
                f"the {side}'s {checkpoint.name!r} is real-valued and has no tolerance.",
                where="the stack's declaration of rounding, and the plan's tolerances",
                fix="declare its rounding bound, state a tolerance with its why in the plan, "
                "or leave it out with a reason",
            )
    if whys["reference"] == whys["challenger"]:
        why = f"each side: {whys['reference']}"
    else:
        why = f"reference: {whys['reference']}; challenger: {whys['challenger']}"
    if absolute == 0.0:
        return Ulps(count=ulps, why=why)
    if ulps == 0.0:
        return Absolute(bound=absolute, why=why)
    return Sum(ulps=Ulps(count=ulps, why=why), absolute=Absolute(bound=absolute, why=why))


def _amount(part: Ulps | Absolute) -> str:
    if isinstance(part, Absolute):
        return f"{part.bound:.3g}"
    return f"{part.count:g} ulp" + ("" if part.count == 1 else "s")
