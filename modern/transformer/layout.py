"""Which features become tokens of the request, of a candidate, of a step, and where codes are embedded."""

from __future__ import annotations

from dataclasses import dataclass

from modern.features.feature_set import FeatureSet
from modern.features.spec import DiscreteSpec, FeatureSpec, RealSpec
from replay.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLayout:
    """The features of one kind of row, in the order of their file: first real, then discrete.

    Attributes:
        real: Names of the real features.
        discrete: Names of the discrete features.
        cardinalities: Codes of each discrete feature; code 0 is missing or unknown.
        first_codes: The row of each discrete feature's code 0 in the embedding table.
    """

    real: tuple[str, ...] = ()
    discrete: tuple[str, ...] = ()
    cardinalities: tuple[int, ...] = ()
    first_codes: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature."""
        return (*self.real, *self.discrete)

    @property
    def num_features(self) -> int:
        """Real and discrete features."""
        return len(self.real) + len(self.discrete)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """What the transformer's tokens are made of.

    Attributes:
        request, candidate, step: The features of each kind of row; a log may have no step features.
        num_codes: Rows of the embedding table, which all discrete features share.
    """

    request: SideLayout
    candidate: SideLayout
    step: SideLayout
    num_codes: int

    @property
    def tokens_like_steps(self) -> tuple[int, ...]:
        """Places of those tokens of a candidate that a step feature shares its table with."""
        first_discrete = 1 + len(self.candidate.real)  # after the token of the row as a whole
        return tuple(
            first_discrete + place
            for place, first in enumerate(self.candidate.first_codes)
            if first in self.step.first_codes
        )


def layout_of(feature_set: FeatureSet) -> TokenLayout:
    """The tokens of a feature set, features in the order of its file.

    A step feature that is like a candidate's has its rows of the embedding table.

    Raises:
        ConfigError: No feature is of the candidate: all candidates of a request would be alike.
    """
    firsts: dict[str, int] = {}
    num_codes = 0
    for feature in feature_set.everything:
        if isinstance(feature, DiscreteSpec):
            if feature.name in feature_set.likes:
                firsts[feature.name] = firsts[feature_set.likes[feature.name]]
                continue
            firsts[feature.name] = num_codes
            num_codes += feature.cardinality
    sides = [
        _side([f for f in feature_set.everything if f.axis == axis], firsts)
        for axis in ("request", "candidate", "step")
    ]
    if not sides[1].num_features:
        raise ConfigError(
            "no feature of the set is of the candidate.",
            where="features.json",
            fix="add one whose source is candidate.<field>: else all candidates are alike",
        )
    return TokenLayout(request=sides[0], candidate=sides[1], step=sides[2], num_codes=num_codes)


def _side(features: list[FeatureSpec], firsts: dict[str, int]) -> SideLayout:
    real = [f for f in features if isinstance(f, RealSpec)]
    discrete = [f for f in features if isinstance(f, DiscreteSpec)]
    return SideLayout(
        real=tuple(f.name for f in real),
        discrete=tuple(f.name for f in discrete),
        cardinalities=tuple(f.cardinality for f in discrete),
        first_codes=tuple(firsts[f.name] for f in discrete),
    )
