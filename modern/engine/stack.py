"""The serving engine as a stack: features in, logits out, in its passes, precision and form.

What is padded into buckets, compiled or recorded has a boundary only. With `modules` it opens as its
own twin instead: the same weights in the same precision on the same device, run module by module,
each a checkpoint. What the twin does not show is the engine's doing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from modern.engine.config import Device, EngineConfig, Mode, Precision
from modern.engine.engine import Engine
from modern.engine.precision import running
from modern.transformer.artifact import TransformerArtifact, load_artifact
from modern.transformer.attention import EncoderLayer
from modern.transformer.faults import put_fault
from modern.transformer.forward import Forward, run_forward
from modern.transformer.inputs import ModelInputs
from modern.transformer.interaction import InteractionLayer, TaskLayer
from modern.transformer.model import Heads
from modern.transformer.module_places import ModulePlace, module_places
from modern.transformer.stack import TransformerStack
from modern.transformer.tokens import FeatureTokens, StepTokens
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_json
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

# The unit roundoff of what products read, over float32's 2^-24: float32's error was measured at
# training, and an error grows with its unit. int8 rounds by half a step of 1/127 of a row's largest.
COARSER: Mapping[Precision, float] = {
    "fp32": 1.0,
    "tf32": 2.0**13,
    "bf16": 2.0**16,
    "int8": 2.0**17,
    "fp8": 2.0**20,
}
# What is no product of matrices stays in float32 in every precision: sums of embeddings, norms and sums
# of the residual stream, the heads' weighted sums. The query's norm is of a product that is narrowed.
_IN_FLOAT32 = (
    *(nn.LayerNorm, FeatureTokens, StepTokens, Heads),
    *(EncoderLayer, InteractionLayer, TaskLayer),  # of what their parts give, those added up
)
_OF_A_PRODUCT = frozenset({"interest.query_norm"})


def open_stack(
    artifact: Path,
    *,
    name: str = "engine",
    device: Device = "cpu",
    precision: Precision = "fp32",
    mode: Mode = "eager",
    cache_bytes: int = 0,
    modules: bool = False,
    threads: int = 1,
) -> EngineStack:
    """Open the folder that `python -m modern train` wrote, on a device.

    Args:
        artifact: The folder.
        name: What reports call the stack.
        device: "cpu" or "cuda".
        precision: "fp32", "tf32", "bf16", "int8" or "fp8".
        mode: "eager", "compiled", "graph", "compiled_graph" or "fused_graph".
        cache_bytes: What encoded old segments may take on the device; 0 encodes them every time.
        modules: Run module by module, each a checkpoint; needs mode "eager" and no cache.
        threads: torch's own on the CPU.

    Raises:
        ArtifactError: The folder is damaged, or its files come from different trainings.
        ConfigError: There is no such device, or the options do not go together.
    """
    torch.set_num_threads(threads)
    config = EngineConfig(device=device, precision=precision, mode=mode, cache_bytes=cache_bytes)
    if modules and (mode != "eager" or cache_bytes):
        raise ConfigError(
            f"mode {mode!r} with a cache of {cache_bytes:,} bytes has no modules to look at.",
            where="the option 'modules' of a stack",
            fix='leave mode and cache_bytes out: the twin is what runs "eager"',
        )
    path = Path(artifact)
    return EngineStack(
        name=name, path=path, artifact=load_artifact(path), config=config, modules=modules
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineStack:
    """An engine between the transformer's features and its outputs.

    Attributes:
        name: What reports call it.
        path: The artifact's folder.
        artifact: What it computes with; a planted fault replaces a part of it.
        config: How the engine runs it.
        modules: Whether it is the engine's twin, with every module in view.
        plants: The faults put into it, as "kind:checkpoint".
    """

    name: str
    path: Path
    artifact: TransformerArtifact = field(repr=False)
    config: EngineConfig
    modules: bool = False
    plants: tuple[str, ...] = ()

    @cached_property
    def engine(self) -> Engine:
        """Made when something is first scored."""
        history = self.artifact.config.history
        return Engine(self.artifact.model, self.config, max_old=max(history.max_old, 1))

    @cached_property
    def inner(self) -> TransformerStack:
        """The transformer's stack, its modules run by the engine."""
        return TransformerStack(
            name=self.name,
            path=self.path,
            artifact=self.artifact,
            plants=self.plants,
            forward=self._forward,
        )

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """The transformer's, rounded as the precision rounds; without the twin's modules the boundary."""
        declared = self.inner.checkpoints
        chosen = list(declared)
        if not self.modules:
            places = module_places(self.artifact.layout, self.artifact.config.transformer)
            inside = {place.path for place in places}
            chosen = [name for name in declared if name not in inside]
        factor = COARSER[self.config.precision]
        return CheckpointGraph(
            (
                replace(
                    self._computed(_coarser(declared[name], factor, self.config.precision)),
                    after=_nearest(declared, name, frozenset(chosen)),
                )
                for name in chosen
            ),
            stack=self.name,
        )

    def identity(self) -> StackIdentity:
        """What would be needed to run it again: the device, and how the engine ran."""
        inner = self.inner.identity()
        config = self.config
        ran = {
            "artifact": inner.digest,
            "engine": [
                config.device,
                config.precision,
                config.mode,
                config.cache_bytes,
                self.modules,
            ],
        }
        return replace(
            inner,
            digest=digest_of_json(ran),
            device="cpu" if config.device == "cpu" else torch.cuda.get_device_name(),
        )

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Compute what is captured, and what that needs.

        Raises:
            StackError: An unknown checkpoint, or `given` that does not fit.
            LogError: The log lacks a field of a feature, or holds another type there.
        """
        wanted = [self.checkpoints[name].name for name in capture]
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        found = self.inner.score(batch, capture=wanted, given=given)
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=found.values,
            checkpoints=self.checkpoints,
            capture=wanted,
        )

    def faults(self) -> tuple[Fault, ...]:
        """Those of the transformer that lie at a checkpoint of this stack."""
        return tuple(one for one in self.inner.faults() if one.checkpoint in self.checkpoints)

    def planted(self, fault: Fault) -> EngineStack:
        """A new stack with the fault in it; this one stays as it is.

        Raises:
            ConfigError: It has no such fault.
        """
        plants = self.inner.planted(fault).plants  # refuses what is not offered
        return replace(self, artifact=put_fault(self.artifact, fault), plants=plants)

    def weights(self) -> Mapping[str, Array]:
        """What the artifact holds, before any rounding to the engine's precision.

        A fault that drowns in that rounding shows here.
        """
        return self.inner.weights()

    def configuration(self) -> Mapping[str, str]:
        """What is set rather than learned, feature by feature, module by module."""
        return self.inner.configuration()

    def _computed(self, one: Checkpoint) -> Checkpoint:
        """With what its own step is computed in, where that is finer than the precision."""
        if not self.modules or one.rounding is None or one.name in _OF_A_PRODUCT:
            return one
        module = dict(self.artifact.model.named_modules()).get(one.name)
        if not isinstance(module, _IN_FLOAT32):
            return one
        return replace(one, rounding=replace(one.rounding, computed_in="fp32"))

    def _forward(
        self,
        inputs: ModelInputs,
        record: Sequence[ModulePlace],
        given: Mapping[ModulePlace, NDArray[Any]],
    ) -> Forward:
        if not self.modules:
            return Forward(logits=self.engine.logits(inputs), recorded={})
        with running(self.config):
            return run_forward(
                self.engine.model, inputs, record=record, given=given, device=self.config.device
            )


def _coarser(one: Checkpoint, factor: float, precision: Precision) -> Checkpoint:
    """With room for the precision, after the first product."""
    if one.rounding is None or factor == 1.0 or one.stage == "feature" or one.name == "ecpm_micros":
        return one
    rounding = Rounding(
        ulps=one.rounding.ulps,
        absolute=one.rounding.absolute * factor,
        why=f"{one.rounding.why}; x {factor:g}, the unit of {precision} over that of float32",
    )
    return replace(one, rounding=rounding)


def _nearest(graph: CheckpointGraph, name: str, chosen: frozenset[str]) -> tuple[str, ...]:
    """The chosen checkpoints it is computed from, nearest upstream."""
    found: dict[str, None] = {}
    front, seen = list(graph[name].after), set()
    while front:
        parent = front.pop(0)
        if parent in seen:
            continue
        seen.add(parent)
        if parent in chosen:
            found[parent] = None
        else:
            front += graph[parent].after
    return tuple(found)
