"""Numbers and units in a person's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

# A free real parameter costs as much as a float32.
REAL_BITS = 32.0

# Factor to what it turns into what: "seconds instead of days" where the challenger is 86400 times
# as large. The inverse of a factor swaps the two.
UNITS: Mapping[float, tuple[str, str]] = MappingProxyType(
    {
        60.0: ("seconds", "minutes"),
        3600.0: ("seconds", "hours"),
        86400.0: ("seconds", "days"),
        604800.0: ("seconds", "weeks"),
        24.0: ("hours", "days"),
        168.0: ("hours", "weeks"),
        1440.0: ("minutes", "days"),
        7.0: ("days", "weeks"),
        12.0: ("months", "years"),
        365.0: ("days", "years"),
        1000.0: ("thousandths", "wholes"),
        1e6: ("millionths", "wholes"),
        1e9: ("billionths", "wholes"),
        60_000.0: ("milliseconds", "minutes"),
        3.6e6: ("milliseconds", "hours"),
        8.64e7: ("milliseconds", "days"),
        100.0: ("per cent or cents", "wholes"),
        1024.0: ("bytes", "kibibytes"),
        1048576.0: ("bytes", "mebibytes"),
        math.log(10.0): ("the natural logarithm", "the logarithm to base 10"),
        math.log(2.0): ("the natural logarithm", "the logarithm to base 2"),
        math.log2(10.0): ("the logarithm to base 2", "the logarithm to base 10"),
        180.0 / math.pi: ("degrees", "radians"),
        1.609344: ("kilometres", "miles"),
    }
)
# Round factors that name no unit.
PLAIN: Mapping[float, str] = MappingProxyType(
    {
        2.0: "counted twice, or a half left out",
        10.0: "",
        10_000.0: "",
        100_000.0: "",
        0.5: "halved",
        0.1: "",
        1e-4: "",
        1e-5: "",
    }
)
# A person says the usual pair for a factor that several have.
_OF_TIME: Mapping[float, Mapping[str, str]] = MappingProxyType(
    {
        60.0: MappingProxyType({"hour": "minutes instead of hours"}),
        1000.0: MappingProxyType(
            {"second": "milliseconds instead of seconds", "currency": "thousandths of the currency"}
        ),
        1e6: MappingProxyType({"second": "microseconds instead of seconds"}),
    }
)


def unit_words(factor: float, unit: str) -> str:
    """What a factor means, given the reference's unit where it is declared."""
    for known, (fine, coarse) in UNITS.items():
        if math.isclose(factor, known, rel_tol=1e-9):
            usual = _OF_TIME.get(known, {}).get(unit.rstrip("s"))
            return usual or _instead(fine, coarse)
        if math.isclose(factor, 1.0 / known, rel_tol=1e-9):
            return _instead(coarse, fine)
    for known, words in PLAIN.items():
        if math.isclose(factor, known, rel_tol=1e-9):
            return words or "another unit"
    return ""


def _instead(used: str, meant: str) -> str:
    if meant == "wholes":
        return f"{used} instead of whole units (milliseconds for seconds, micros for a currency)"
    if used == "wholes":
        return f"whole units instead of {meant} (seconds for milliseconds, a currency for micros)"
    return f"{used} instead of {meant}"


def number(value: float) -> str:
    """A number as short as it can be read back to six digits."""
    if not math.isfinite(value):
        return "missing" if math.isnan(value) else "infinite"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"


def percent(share: float) -> str:
    """A share as per cent, never rounded up to all of it."""
    if share >= 1.0:
        return "100 %"
    if share > 0.99:
        return f"{math.floor(share * 1000.0) / 10.0:g} %"
    return f"{share * 100.0:.0f} %"


def counted(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def price(value: float) -> float:
    """Bits to write a number down: few for one that a person would write, else a float32's."""
    if not math.isfinite(value) or value in {0.0, 1.0, -1.0}:
        return 2.0
    short = nice(value, within=1e-12)
    if short is None:
        return REAL_BITS
    digits = f"{abs(short):e}".partition("e")[0].rstrip("0").replace(".", "")
    magnitude = abs(math.floor(math.log10(abs(short))))
    bits = len(digits) * math.log2(10.0) + 2.0 * math.log2(magnitude + 1.0) + 2.0
    return min(bits, REAL_BITS)


def nice(value: float, *, within: float) -> float | None:
    """The decimal of at most four digits that a fitted value stands for, if it is one."""
    if not math.isfinite(value) or value == 0.0:
        return None
    for digits in (1, 2, 3, 4):
        short = float(f"{value:.{digits - 1}e}")
        if abs(short - value) <= within * abs(value):
            return short
    return None
