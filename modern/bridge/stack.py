"""The bridge as a stack: the port's checkpoints, and below `residual` the transformer's beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from modern.bridge.model import LEGACY, RESIDUAL, load_bridge
from modern.identity import torch_identity
from modern.port.stack import PortStack
from modern.port.stack import open_stack as open_port
from modern.transformer.stack import TransformerStack
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_json, digest_of_path
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

PREFIX = f"{RESIDUAL}."
# The transformer's own outputs: of them the bridge takes the logit alone, as `residual`.
_OUTPUTS = frozenset({"logit", "pctr", "ecpm_micros", "rank"})


def open_stack(artifact: Path, *, name: str = "bridge", threads: int = 1) -> BridgeStack:
    """Open the folder that `python -m modern train-bridge` wrote.

    Raises:
        ArtifactError: A part is damaged, or does not belong to the other.
    """
    path = Path(artifact)
    loaded = load_bridge(path)
    return BridgeStack(
        name=name,
        path=path,
        port=open_port(path / LEGACY, name=name, threads=threads),
        residual=TransformerStack(name=name, path=path / RESIDUAL, artifact=loaded.residual),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class BridgeStack:
    """Log-odds of the port plus those that the transformer adds; the port's calibration.

    Attributes:
        name: What reports call it.
        path: The bridge's folder.
        port, residual: Both parts as stacks.
        plants: The faults put into it, as "kind:checkpoint".
    """

    name: str
    path: Path
    port: PortStack
    residual: TransformerStack
    plants: tuple[str, ...] = ()

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """Features once, then both models side by side, then the outputs."""
        return CheckpointGraph(tuple(self._declared()), stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again; a planted stack is another one."""
        digest = digest_of_path(self.path)
        if self.plants:
            digest = digest_of_json({"bridge": digest, "planted": list(self.plants)})
        return torch_identity(
            name=self.name,
            digest=digest,
            training_id=self.port.identity().training_id,  # it is compared with that model
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
        ported = self.port.checkpoints
        before = {n for n in ported if n not in _OUTPUTS and n in wanted}
        features = [n for n in ported if n.startswith("features.")]
        needs_logit = bool(_OUTPUTS & set(wanted))
        needs_residual = needs_logit or any(self._is_residual(name) for name in wanted)
        own = {n: a for n, a in given.items() if n in ported and n not in _OUTPUTS}
        captured = before | (set(features) if needs_residual else set())
        if needs_logit:
            captured.add("logit")
        port = self.port.score(batch, capture=captured, given=own)
        values = {name: port[name] for name in before}
        if needs_residual:
            used = {n: given.get(n, port[n]) for n in features}
            values |= self._residual(batch, wanted, used, given)
        if needs_logit:
            added = given.get(RESIDUAL, values[RESIDUAL])
            # float32 as the port's own sum: adding 0 gives back every bit of it.
            values["logit"] = (port["logit"] + added).astype(np.float32)
            logit = given.get("logit", values["logit"])
            after = {n: a for n, a in given.items() if n in _OUTPUTS} | {"logit": logit}
            outputs = [n for n in wanted if n in _OUTPUTS and n != "logit"]
            if outputs:
                trace = self.port.score(batch, capture=outputs, given=after)
                values |= {name: trace[name] for name in outputs}
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={name: values[name] for name in wanted},
            checkpoints=self.checkpoints,
            capture=wanted,
        )

    def faults(self) -> tuple[Fault, ...]:
        """Those of the port, and of the transformer's modules below `residual`."""
        added = (
            replace(fault, checkpoint=f"{PREFIX}{fault.checkpoint}")
            for fault in self.residual.faults()
            if self._is_residual(f"{PREFIX}{fault.checkpoint}")
        )
        return (*self.port.faults(), *added)

    def planted(self, fault: Fault) -> BridgeStack:
        """A new stack with the fault in it; this one stays as it is.

        Raises:
            ConfigError: It has no such fault.
        """
        asked = f"{fault.kind}:{fault.checkpoint}"
        if asked not in {f"{known.kind}:{known.checkpoint}" for known in self.faults()}:
            raise ConfigError(
                f"{asked} can not be planted.",
                where=f"stack {self.name!r}",
                fix="plant one of the known faults: parity replay --plant list",
            )
        plants = (*self.plants, asked)
        if fault.checkpoint.startswith(PREFIX):
            inner = replace(fault, checkpoint=fault.checkpoint.removeprefix(PREFIX))
            return replace(self, residual=self.residual.planted(inner), plants=plants)
        return replace(self, port=self.port.planted(fault), plants=plants)

    def _is_residual(self, name: str) -> bool:
        return name == RESIDUAL or (name.startswith(PREFIX) and name in self.checkpoints)

    def _residual(
        self,
        batch: RequestBatch,
        wanted: Collection[str],
        features: Mapping[str, Array],
        given: Mapping[str, Array],
    ) -> dict[str, Array]:
        """What the transformer computes on the features that are used."""
        known = self.residual.checkpoints
        inner = {n: a for n, a in features.items() if n in known}
        inner |= {
            name.removeprefix(PREFIX): array
            for name, array in given.items()
            if name.startswith(PREFIX)
        }
        names = {n.removeprefix(PREFIX) for n in wanted if n.startswith(PREFIX)}
        trace = self.residual.score(batch, capture=names | {"logit"}, given=inner)
        return {f"{PREFIX}{name}": trace[name] for name in names} | {RESIDUAL: trace["logit"]}

    def _declared(self) -> Iterator[Checkpoint]:
        ported = tuple(self.port.checkpoints.values())
        inner = tuple(self.residual.checkpoints.values())
        features = {one.name for one in ported if one.stage == "feature"}
        yield from (one for one in ported if one.name not in _OUTPUTS)
        for one in inner:
            if one.name in features or one.name in _OUTPUTS:
                continue
            after = tuple(n if n in features else f"{PREFIX}{n}" for n in one.after)
            yield replace(one, name=f"{PREFIX}{one.name}", after=after)
        logit = next(one for one in inner if one.name == "logit")
        yield replace(
            logit, name=RESIDUAL, stage="layer", after=tuple(f"{PREFIX}{n}" for n in logit.after)
        )
        added = 0.0 if logit.rounding is None else logit.rounding.absolute
        for one in ported:
            if one.name not in _OUTPUTS:
                continue
            if one.name == "logit":
                assert one.rounding is not None, "the port declares it"
                bound = Rounding(
                    absolute=one.rounding.absolute + added,
                    why=f"the port's: {one.rounding.why}; and the residual's",
                )
                yield replace(one, after=(*one.after, RESIDUAL), rounding=bound)
            else:
                yield one
