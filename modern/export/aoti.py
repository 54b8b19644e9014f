"""The transformer compiled ahead of time by AOTInductor: machine code, with a boundary only.

What happens inside can not be seen. So beside the package stands the very graph it was compiled
from, its *twin*: a difference that the twin shows is the program's, one that it does not show is
the compiler's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from modern.export.run import Ran
from modern.export.torch_graph import ExportedGraph, quiet
from replay.errors import ArtifactError


def compile_package(program: ExportedProgram, path: Path) -> None:
    """Compile with the machine's own C++ compiler; tied to its processor, or its GPU."""
    from torch._inductor import aoti_compile_and_package

    with quiet():
        aoti_compile_and_package(program, package_path=str(path))


class CompiledPackage:
    """The package, and the graph that it was compiled from.

    Args:
        path: The package. Opening it loads its machine code: open only what you compiled.
        program: The graph.

    Raises:
        ArtifactError: The package can not be loaded here.
    """

    def __init__(self, path: Path, program: ExportedProgram) -> None:
        from torch._inductor import aoti_load_package

        try:
            self._call: Any = aoti_load_package(str(path))
        except (RuntimeError, OSError) as error:
            raise ArtifactError(
                f"the compiled package can not be loaded: {error}",
                where=str(path),
                fix="compile it on this machine: python -m modern export --format aoti",
            ) from error
        self.twin = ExportedGraph(program)

    def run(
        self, arguments: tuple[Tensor, ...], *, record: Sequence[str], given: Mapping[str, Tensor]
    ) -> Ran:
        """As `modern.export.run.Program`; modules are recorded and given in the twin.

        With modules given the logits are the twin's plus what the compiled program adds to the
        twin on the same arguments: so the compiler's own difference stays, and is seen alone.
        """
        with torch.inference_mode():
            compiled: Tensor = self._call(*arguments)
        if not record and not given:
            return Ran(logits=compiled, recorded={})
        watched = self.twin.run(arguments, record=record, given=given)
        if not given:
            return Ran(logits=compiled, recorded=watched.recorded)
        bare = self.twin.run(arguments, record=(), given={})
        # In float64, where this is exact when the twin gives what it gave before.
        added = compiled.double() - bare.logits.double()
        logits = (watched.logits.double() + added).to(compiled.dtype)
        return Ran(logits=logits, recorded=watched.recorded)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Of the twin, as `modern.export.run.Program`."""
        return self.twin.weights()

    def configuration(self) -> dict[str, str]:
        """Of the twin, as `modern.export.run.Program`."""
        return self.twin.configuration()
