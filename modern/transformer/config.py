"""Sizes of the transformer, which form of it is built, and how much history it reads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from replay.errors import ConfigError

Activation = Literal["gelu", "gelu_tanh"]
Form = Literal["shared", "plain", "early_fusion", "no_history"]
Task = Literal["click", "conversion", "view_2s", "view_5s"]
TASKS: tuple[Task, ...] = get_args(Task)

# Where the logarithmic age buckets begin, in hours: 5 and 15 minutes, then about a factor of two
# up to a day, days, weeks, months, a year. What happened a minute ago and yesterday are different
# things, what happened 100 and 101 days ago are not.
AGE_EDGES_HOURS = (
    *(1 / 12, 1 / 4, 1.0, 2.0, 4.0, 8.0, 16.0),
    *(24.0, 48.0, 96.0, 168.0, 336.0, 720.0, 1440.0, 2880.0, 8760.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """What is built.

    Attributes:
        form: "shared": the history and the request are encoded once, candidates ask them.
            "plain": the same function, computed for each candidate by itself; the same weights
            load. "early_fusion": the candidate is added to every step before the history is
            encoded, so nothing of it can be shared. "no_history": steps are not read.
        tasks: The heads, in order; the first one's probability is `pctr`.
        width: Channels of a token. 32 with two layers scores a day of 424,680 candidates
            in about ten seconds of one CPU thread, features not counted.
        history_layers: Encoder layers over the steps.
        request_layers: Encoder layers over the request's own tokens.
        num_layers: Interaction layers; the last one computes the task queries alone.
        num_heads: Attention heads; they divide the width.
        feed_forward: Channels inside a feed-forward layer.
        dropout: Of both residual branches, while training.
        layernorm_eps: PyTorch's default.
        activation: "gelu" is the exact one (erf).
    """

    form: Form = "shared"
    tasks: tuple[Task, ...] = ("click",)
    width: int = 32
    history_layers: int = 2
    request_layers: int = 1
    num_layers: int = 2
    num_heads: int = 2
    feed_forward: int = 64
    dropout: float = 0.1
    layernorm_eps: float = 1e-5
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        sizes = (self.width, self.num_layers, self.num_heads, self.feed_forward)
        depths = (self.history_layers, self.request_layers)
        if min(sizes) < 1 or min(depths) < 0 or self.width % self.num_heads:
            raise _refusal(
                f"the sizes {self} do not fit", "give positive sizes; heads divide width"
            )
        if not 0 <= self.dropout < 1 or not 0 < self.layernorm_eps < 1:
            raise _refusal(f"{self} is out of range", "0 <= dropout < 1 and 0 < layernorm_eps < 1")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise _refusal(f"the tasks are {list(self.tasks)}", "name at least one, none twice")
        for noun, value, known in (
            ("activation", self.activation, get_args(Activation)),
            ("form", self.form, get_args(Form)),
            *(("task", task, TASKS) for task in self.tasks),
        ):
            if value not in known:
                raise _refusal(
                    f"no {noun} is called {value!r}", f"use one of {', '.join(map(str, known))}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryConfig:
    """Which logged steps are read, and as what.

    Attributes:
        recent_hours: A step is old when it happened more than so long before the midnight (UTC)
            that begins the request's day. Old steps see old steps only, at every layer, so what
            is computed of them is the same for all requests of a day (a month, by default).
        max_old: Of the old steps the newest so many are read; a limit of their own, since a new
            step must not change which old ones are read.
        max_recent: Of the others the newest so many.
        collapse_by: Step features; steps that agree in all of them and follow one another within
            `collapse_hours` become one, the newest, which weighs as much as they do. None: off.
        collapse_hours: How closely they follow.
        recency_power: Attention starts out weighing a step by (1 + its age in hours)^-power, where
            one of a day ago weighs 1; what ages really matter it learns on top. 0: all steps alike.
        age_edges_hours: Where the buckets of a step's age begin.
    """

    recent_hours: float = 720.0
    max_old: int = 400
    max_recent: int = 100
    collapse_by: tuple[str, ...] = ()
    collapse_hours: float = 1.0
    recency_power: float = 0.0
    age_edges_hours: tuple[float, ...] = AGE_EDGES_HOURS

    def __post_init__(self) -> None:
        edges = self.age_edges_hours
        if not self.recent_hours >= 0 or not self.collapse_hours >= 0:
            raise _refusal(f"{self} holds a negative time", "give hours of 0 or more")
        if not 0 <= self.recency_power <= 4:  # beyond, weights of years ago are no float32
            raise _refusal(f"recency_power is {self.recency_power}", "give 0 to 4")
        if self.max_old < 0 or self.max_recent < 0 or self.max_old + self.max_recent < 1:
            raise _refusal(
                f"max_old is {self.max_old} and max_recent {self.max_recent}",
                "read at least one step (or use the form no_history)",
            )
        if not edges or any(not a < b for a, b in pairwise(edges)):
            raise _refusal(f"the age edges {edges} do not ascend", "give ascending hours")


def _refusal(what: str, fix: str) -> ConfigError:
    return ConfigError(f"{what}.", where="the transformer's configuration", fix=fix)
