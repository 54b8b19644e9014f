"""What a drill adds up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parity.drill.drill import Drilled
from parity.drill.score import Outcome, Reason

MEANS = ("real", "log", "value")
STAGES = ("log", "feature", "encoding", "tree", "layer", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of some mistakes: each was planted alone, or all of one combination together.

    Attributes:
        planted: How many.
        above_floor: Of these, how many moved what they change beyond the floor.
        detected: Of those above, where anything was named.
        right_place: Of those above, where everything was named that has to be, and nothing else.
        with_class: Named places of mistakes for which a class of diagnosis exists.
        diagnosed: Of these, how many were told rightly.
        unexplained: Of these, how many were left unexplained.
        misdiagnosed: Of these, how many were told wrongly.
        wrong_names: Names of places where nothing of what was planted stands.
    """

    planted: int
    above_floor: int
    detected: int
    right_place: int
    with_class: int
    diagnosed: int
    unexplained: int
    misdiagnosed: int
    wrong_names: int


def count(outcomes: Iterable[Outcome]) -> Counts:
    """Add up outcomes."""
    listed = list(outcomes)
    over = [one for one in listed if one.is_above]

    def reasons(reason: Reason) -> int:
        return sum(told.reason == reason for one in over for told in one.told)

    right, open_, wrong = (reasons(reason) for reason in ("right", "unexplained", "wrong"))
    return Counts(
        planted=len(listed),
        above_floor=len(over),
        detected=sum(one.is_detected for one in over),
        right_place=sum(one.is_right for one in over),
        with_class=right + open_ + wrong,
        diagnosed=right,
        unexplained=open_,
        misdiagnosed=wrong,
        wrong_names=sum(len(one.wrong) for one in listed),
    )


def failings(drilled: Drilled) -> Iterator[tuple[Outcome, str]]:
    """Every outcome that is not as it should be, with its reason."""
    for one in (*drilled.singles, *drilled.combined):
        if one.failed is not None:
            yield one, f"the challenger failed: {one.failed}"
        elif one.wrong:
            yield one, f"wrong names: {', '.join(one.wrong)}"
        elif one.is_above and one.missed:
            yield one, f"missed: {', '.join(one.missed)}; its effect lies within the tolerance"
    for one in drilled.singles:
        for told in one.told:
            if one.is_above and told.reason == "wrong":
                yield one, f"told wrongly at {told.checkpoint}: {told.text}"
            elif one.is_above and told.reason == "unexplained":
                yield one, f"unexplained at {told.checkpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defects:
    """What must not be: each is a reason to distrust the tool on this pair of stacks.

    A named mistake that is left unexplained is none: nothing was said that is not so.

    Attributes:
        missed: Mistakes above the floor, alone or together, of which a place was not named or on
            which the challenger failed.
        wrong_names: Names of places where nothing of what was planted stands.
        wrong_explanations: Places that were told for another reason than the planted one.
        false_alarms: Benign variations that raised an alarm.
    """

    missed: int
    wrong_names: int
    wrong_explanations: int
    false_alarms: int

    @property
    def is_any(self) -> bool:
        """Whether there is one."""
        return any((self.missed, self.wrong_names, self.wrong_explanations, self.false_alarms))


def defects(drilled: Drilled) -> Defects:
    """Count them."""
    everything = (*drilled.singles, *drilled.combined)
    return Defects(
        missed=sum(one.is_above and bool(one.missed or one.failed) for one in everything),
        wrong_names=sum(len(one.wrong) for one in everything),
        wrong_explanations=count(drilled.singles).misdiagnosed,
        false_alarms=sum(one.is_false_alarm for one in drilled.benign),
    )


def exit_code(drilled: Drilled) -> int:
    """0: all is named and nothing else; 1: there is a defect; 3: nothing was above the floor."""
    if defects(drilled).is_any:
        return 1
    return 0 if any(one.is_above for one in drilled.singles) else 3
