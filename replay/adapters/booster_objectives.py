"""What a booster's margin stands for, by its objective; what has no single prediction is refused."""

from __future__ import annotations

from collections.abc import Mapping

from replay.adapters.links import EXPONENTIAL, IDENTITY, LOG_ONE_PLUS_EXP, SIGMOID, Link
from replay.errors import ArtifactError

# The margin of a ranking objective is a score, which a sigmoid keeps in order; that of logitraw is
# the log-odds, which the library gives as its prediction.
XGBOOST: Mapping[str, Link] = {
    "binary:logistic": SIGMOID,
    "reg:logistic": SIGMOID,
    "binary:logitraw": SIGMOID,
    "rank:pairwise": SIGMOID,
    "rank:ndcg": SIGMOID,
    "rank:map": SIGMOID,
    "reg:squarederror": IDENTITY,
    "reg:squaredlogerror": IDENTITY,
    "reg:absoluteerror": IDENTITY,
    "reg:pseudohubererror": IDENTITY,
    "reg:quantileerror": IDENTITY,
    "reg:expectileerror": IDENTITY,
    "count:poisson": EXPONENTIAL,
    "reg:gamma": EXPONENTIAL,
    "reg:tweedie": EXPONENTIAL,
    "survival:cox": EXPONENTIAL,
    "survival:aft": EXPONENTIAL,
}
LIGHTGBM: Mapping[str, Link] = {
    "binary": SIGMOID,
    "cross_entropy": SIGMOID,
    "lambdarank": SIGMOID,
    "rank_xendcg": SIGMOID,
    "regression": IDENTITY,
    "regression_l1": IDENTITY,
    "huber": IDENTITY,
    "fair": IDENTITY,
    "quantile": IDENTITY,
    "mape": IDENTITY,
    "poisson": EXPONENTIAL,
    "gamma": EXPONENTIAL,
    "tweedie": EXPONENTIAL,
    "cross_entropy_lambda": LOG_ONE_PLUS_EXP,
}


def link_of(objective: str, known: Mapping[str, Link], *, outputs: int, where: str) -> Link:
    """The way from the margin to the prediction.

    Args:
        objective: As the library calls it; "" for one of the user's own.
        known: `XGBOOST` or `LIGHTGBM`.
        outputs: Margins of one row.
        where: The file, for errors.

    Raises:
        ArtifactError: The model has several outputs, or an objective without one number a row.
    """
    if outputs != 1 or objective not in known:
        said = f"the objective is {objective or 'one of your own'!r}"
        if outputs != 1:
            said += f" of {outputs} outputs"
        raise ArtifactError(
            f"{said}, whose margins are not one prediction for each candidate.",
            where=where,
            fix=f"name a model of one output and one of {', '.join(known)}; others can be scored "
            "by cpp_serving.open_model",
        )
    return known[objective]
