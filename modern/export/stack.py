"""An exported transformer as a stack: the same checkpoints, computed by the program it became.

A compiled program has no insides. Its modules are those of the graph it was compiled from, and the
checkpoint `compiled` is what the machine code returned: given the graph's own heads it differs from
them by what the compiler did, and by nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modern.export.folder import Exported, Kind, open_export, program_of
from modern.export.run import Program, run_program
from modern.identity import torch_identity
from modern.transformer.checkpoints import logit_name
from modern.transformer.faults import put_fault
from modern.transformer.forward import Forward
from modern.transformer.inputs import ModelInputs
from modern.transformer.module_places import ModulePlace
from modern.transformer.stack import TransformerStack
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

COMPILED = "compiled"
# What must not matter: the model exported anew, and its graph as machine code.
EXPORTED_AGAIN, COMPILED_AHEAD = "exported again", "compiled ahead of time"
_PACKAGES: Mapping[Kind, tuple[str, ...]] = {
    "torch": ("torch",),
    "aoti": ("torch",),
    "onnx": ("onnx", "onnxruntime", "torch"),
}


def open_stack(artifact: Path, *, name: str = "exported", threads: int = 1) -> ExportStack:
    """Open the folder that `python -m modern export` wrote.

    Args:
        artifact: The export's folder.
        name: What reports call the stack.
        threads: Native threads of what computes; last bits may depend on them.

    Raises:
        ArtifactError: The folder is damaged, or this machine can not run it.
    """
    torch.set_num_threads(threads)
    path = Path(artifact)
    return ExportStack(name=name, path=path, exported=open_export(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportStack:
    """Features and outputs as the transformer's own stack computes them, around another program.

    Attributes:
        name: What reports call it.
        path: The export's folder.
        exported: What it computes with; a planted fault replaces a part of it.
        plants: The faults put into it, as "kind:checkpoint".
        is_changed: Whether a fault changed the model, so that it has to be exported again.
        varied: The variations that were asked for, which are made once.
    """

    name: str
    path: Path
    exported: Exported = field(repr=False)
    plants: tuple[str, ...] = ()
    is_changed: bool = False
    varied: dict[str, ExportStack] = field(default_factory=dict, repr=False)

    @cached_property
    def program(self) -> Program:
        """What computes the logits; of several faults in one model, exported again once."""
        exported = self.exported
        if not self.is_changed:
            return exported.program
        return program_of(exported.artifact, exported.kind, exported.bounds)

    @cached_property
    def inner(self) -> TransformerStack:
        """The transformer's stack, its modules run by the exported program."""
        return TransformerStack(
            name=self.name, path=self.path, artifact=self.exported.artifact, forward=self._forward
        )

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """The transformer's; of a compiled program with what the machine code returned."""
        declared = tuple(self.inner.checkpoints.values())
        if self.exported.kind != "aoti":
            return CheckpointGraph(declared, stack=self.name)
        return CheckpointGraph(_with_compiled(declared, self._logits), stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again; a planted stack is another one."""
        digest = digest_of_path(self.path)
        if self.plants:
            digest = digest_of_json({"export": digest, "planted": list(self.plants)})
        packages = (*_PACKAGES[self.exported.kind], "numpy", "pyarrow", "safetensors")
        return torch_identity(
            name=self.name,
            digest=digest,
            training_id=self.exported.artifact.training_id,
            packages=packages,
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
            StackError: An unknown checkpoint, `given` that does not fit, or a request beyond the
                bounds of the export.
            LogError: The log lacks a field of a feature, or holds another type there.
        """
        wanted = [self.checkpoints[name].name for name in capture]
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        if self.exported.kind != "aoti":
            return self.inner.score(batch, capture=wanted, given=given)
        return self._around_compiled(batch, wanted, given)

    def faults(self) -> tuple[Fault, ...]:
        """Those of the transformer: each is put into the model, and the model exported again."""
        return self.inner.faults()

    def planted(self, fault: Fault) -> ExportStack:
        """A new stack with the fault in it; this one stays as it is.

        Raises:
            ConfigError: It has no such fault.
        """
        plants = self.inner.planted(fault).plants  # refuses what is not offered
        before = self.exported
        artifact = put_fault(before.artifact, fault)
        return replace(
            self,
            exported=replace(before, artifact=artifact),
            plants=(*self.plants, *plants),
            varied={},
            is_changed=self.is_changed or artifact.model is not before.artifact.model,
        )

    def variations(self) -> tuple[str, ...]:
        """As `replay.capabilities.Varies`; machine code only where there is a compiler for it."""
        can_compile = self.exported.kind == "torch" and shutil.which("c++") is not None
        return (EXPORTED_AGAIN, COMPILED_AHEAD) if can_compile else (EXPORTED_AGAIN,)

    def vary(
        self,
        variation: str,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Score with the program exported, or compiled, once more.

        Raises:
            ConfigError: There is no such variation.
        """
        if variation not in self.variations():
            raise ConfigError(
                f"there is no variation {variation!r}.",
                where=f"stack {self.name!r}",
                fix=f"one of: {', '.join(self.variations())}",
            )
        if variation not in self.varied:
            before = self.exported
            kind: Kind = "aoti" if variation == COMPILED_AHEAD else before.kind
            # The checkpoints stay the graph's: what the compiler does is seen at the logits.
            exported = replace(before, program=program_of(before.artifact, kind, before.bounds))
            self.varied[variation] = replace(self, exported=exported, is_changed=False)
        return self.varied[variation].score(batch, capture=capture, given=given)

    def weights(self) -> Mapping[str, Array]:
        """As `replay.capabilities.DescribesWeights`: those that the program holds."""
        return self.program.weights()

    def configuration(self) -> Mapping[str, str]:
        """Features as their code has them, epsilons and activations as the program's operators do."""
        features = self.exported.artifact.feature_set.everything
        found = {f"features.{feature.name}": repr(feature) for feature in features}
        return {**found, **self.program.configuration()}

    @property
    def _logits(self) -> tuple[str, ...]:
        artifact = self.exported.artifact
        return tuple(logit_name(artifact, task) for task in artifact.config.transformer.tasks)

    def _forward(
        self,
        inputs: ModelInputs,
        record: Sequence[ModulePlace],
        given: Mapping[ModulePlace, NDArray[Any]],
    ) -> Forward:
        return run_program(
            self.program,
            inputs,
            self.exported.bounds,
            num_tasks=len(self.exported.artifact.config.transformer.tasks),
            record=record,
            given=given,
        )

    def _around_compiled(
        self, batch: RequestBatch, wanted: Sequence[str], given: Mapping[str, Array]
    ) -> Trace:
        """The inner stack takes its logits from what the machine code gave, or was given."""
        own = {name: array for name, array in given.items() if name != COMPILED}
        logits = {}
        if COMPILED in given:
            columns = given[COMPILED]
            logits = {name: columns[:, place].copy() for place, name in enumerate(self._logits)}
        needed = {name for name in wanted if name != COMPILED}
        if COMPILED in wanted:
            needed |= set(self._logits)
        trace = self.inner.score(batch, capture=needed, given={**logits, **own})
        values = {name: trace[name] for name in needed}
        if COMPILED in wanted:
            values[COMPILED] = np.stack([values[name] for name in self._logits], axis=1)
        # A logit is what stands before it, whatever the logit itself was given.
        values |= {name: logits[name] for name in logits if name in needed}
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={name: values[name] for name in wanted},
            checkpoints=self.checkpoints,
            capture=wanted,
        )


def _with_compiled(
    declared: Sequence[Checkpoint], logits: tuple[str, ...]
) -> tuple[Checkpoint, ...]:
    """The machine code reads everything before the modules, and stands between heads and logits."""
    found: list[Checkpoint] = []
    read = [one.name for one in declared if one.stage in {"log", "feature"}]
    heads = next(one for one in declared if one.name == "heads")
    first = next(one for one in declared if one.name == logits[0])
    placed = False
    for one in declared:
        if one.name in logits:
            if not placed:
                found.append(
                    replace(
                        heads,
                        name=COMPILED,
                        after=("heads", *read),
                        unit="log-odds",
                        rounding=first.rounding,
                    )
                )
                placed = True
            found.append(replace(one, after=(COMPILED,)))
        else:
            found.append(one)
    return tuple(found)
