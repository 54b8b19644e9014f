"""The options that every adapted model takes: what it is fed with, and which of its tensors is what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from replay.adapters.example import digest_of_batch, example_batch
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import Rows
from replay.adapters.model_stack import Features, features_of
from replay.adapters.outputs import Outputs, choose_outputs
from replay.adapters.program import Program
from replay.digests import digest_of_code, digest_of_json
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.trace import Array

ADAPTERS = sys.modules[__name__.rpartition(".")[0]]
Options = TypeVar("Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How logged requests become a model's inputs, and what it returns.

    Attributes:
        inputs: "package.module:function", from a `RequestBatch` to named arrays: one per input of
            the model, one row per candidate.
        example: A log, one of its days, or "package.module:function": a few requests that
            the model is traced and its rounding measured with. A path may be relative to the
            artifact's folder.
        logit: Which tensor is the log-odds: what the model returns, or a checkpoint.
        pctr: Which one is the probability; by default the sigmoid of the logit.
        money: Path of the bid, such as "candidate.bid_micros", where the rank goes by eCPM.
        batch: What the model's rows are: "candidate", or "request" for a model that scores all
            candidates of a request at once, one column each.
        request_inputs: Inputs with one row per request; the model sees them once a candidate.
        columns: Input to the names of its columns: each is a feature of its own.
        nan_is_missing: Real inputs in which NaN means a missing value.
    """

    inputs: str
    example: str
    logit: str | None = None
    pctr: str | None = None
    money: str | None = None
    batch: Rows = "candidate"
    request_inputs: Collection[str] = ()
    columns: Mapping[str, Collection[str]] = field(default_factory=dict)
    nan_is_missing: Collection[str] = ()

    def fed(self, beside: Path | None) -> Fed:
        """The example, as the model is fed with it.

        Raises:
            ConfigError: An option does not fit.
            LogError: The example can not be read.
            StackError: The inputs function gives no usable arrays.
        """
        function = imported(self.inputs, option="inputs")
        example = example_batch(self.example, beside=beside)
        features = features_of(
            function,
            example,
            rows=self.batch,
            request_inputs=self.request_inputs,
            columns=self.columns,
            nan_is_missing=self.nan_is_missing,
        )
        inputs = features.inputs(features.produced(example), example.keys)
        return Fed(features=features, example=example, inputs=inputs)

    def outputs(self, program: Program) -> Outputs:
        """Which of the model's tensors is what.

        Raises:
            ConfigError: It has no such tensor.
        """
        return choose_outputs(
            program.tensors, logit=self.logit, pctr=self.pctr, money=self.money, rows=self.batch
        )

    def code(self, fed: Fed, *more: Callable[..., Any] | str) -> str:
        """The digest of the code that decides what such a stack computes.

        Args:
            fed: The example.
            more: Further functions of the user's, and options.
        """
        return digest_of_json(
            [
                *(digest_of_code(ADAPTERS), digest_of_batch(fed.example)),
                *(one if isinstance(one, str) else digest_of_source(one) for one in more),
                *(digest_of_source(fed.features.function), self.inputs, self.logit, self.pctr),
                *(self.money, self.batch, sorted(self.request_inputs)),
                *(sorted(self.nan_is_missing), {k: list(of) for k, of in self.columns.items()}),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fed:
    """A few requests on their way into a model.

    Attributes:
        features: How requests become inputs.
        example: The requests.
        inputs: The inputs by name, along the model's rows.
    """

    features: Features
    example: RequestBatch
    inputs: Mapping[str, Array]

    @property
    def shapes(self) -> str:
        """The inputs' names, dtypes and shapes, for an error."""
        return str({name: f"{one.dtype}{list(one.shape)}" for name, one in self.inputs.items()})


def options_of(kind: type[Options], options: Mapping[str, Any], *, stack: str) -> Options:
    """A stack's options as such a dataclass.

    Raises:
        ConfigError: One is missing, or is none of them.
    """
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]  # dataclasses have no type of their own
    needed = [n for n, f in known.items() if f.default is f.default_factory is MISSING]
    missing = [name for name in needed if name not in options]
    unknown = sorted(set(options) - set(known))
    if missing or unknown:
        raise ConfigError(
            f"the options lack {missing[0]!r}."
            if missing
            else f"there is no option {unknown[0]!r} (known: {', '.join(known)}).",
            where=f"the options of stack {stack!r}",
            fix="name inputs as package.module:function, and example as a log or one of its days",
        )
    return kind(**options)
