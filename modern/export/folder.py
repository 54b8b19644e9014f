"""An exported transformer as a folder: the program, what it was made from, and every file's digest."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch.export import ExportedProgram

from modern.export.bounds import Bounds, bounds_of
from modern.export.run import Program
from modern.export.torch_graph import ExportedGraph, exported_program, load_program, save_program
from modern.transformer.artifact import TransformerArtifact, load_artifact
from modern.transformer.module_places import module_places
from replay.digests import digest_of_file, digest_of_path
from replay.errors import ArtifactError, ConfigError

Kind = Literal["torch", "aoti", "onnx"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FORMAT = "parity.export/1"
ARTIFACT = "artifact"
GRAPH, PACKAGE, MODEL = "program.pt2", "compiled.pt2", "model.onnx"
_PROGRAMS: Mapping[Kind, tuple[str, ...]] = {
    "torch": (GRAPH,),
    "aoti": (GRAPH, PACKAGE),
    "onnx": (MODEL,),
}
_FIX = "export it again: python -m modern export"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """What an export computes with.

    Attributes:
        artifact: What it was exported from: features, calibration, what the model itself is.
        program: What computes the logits in its place.
    """

    kind: Kind
    artifact: TransformerArtifact
    program: Program
    bounds: Bounds


def export_artifact(folder: Path, kind: Kind, out: Path, *, bounds: Bounds | None = None) -> Bounds:
    """Export an artifact's model; the folder stands whole, or as it stood before.

    Args:
        folder: The artifact.
        kind: "torch" is the graph, "aoti" the graph and its machine code, "onnx" an ONNX model.
        out: The export's folder; one that is no export is never replaced.
        bounds: As many steps as the artifact reads, and candidates as one forward pass takes,
            unless given.

    Raises:
        ArtifactError: The artifact can not be read, or its form can not be exported.
        ConfigError: `out` holds something else.
    """
    artifact = load_artifact(folder)
    chosen = bounds_of(artifact) if bounds is None else bounds
    if out.exists() and not (out / "manifest.json").is_file():
        raise ConfigError(
            f"{str(out)!r} is there and is no export.",
            where="--out",
            fix="name another folder, or remove this one",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        _write_program(exported_program(artifact, chosen), artifact, kind, fresh)
        shutil.copytree(folder, fresh / ARTIFACT)
        packages = ("torch", *(("onnx", "onnxscript") if kind == "onnx" else ()))
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "training_id": artifact.training_id,
            "artifact": digest_of_path(folder),
            "bounds": asdict(chosen),
            "versions": {name: version(name) for name in packages},
            "files": {name: digest_of_file(fresh / name) for name in _PROGRAMS[kind]},
        }
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        (fresh / "manifest.json").write_text(text)
        if out.exists():
            out.rename(scratch / "old")
        fresh.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return chosen


def open_export(folder: Path) -> Exported:
    """Read an export, and check every file before anything of it is used.

    Raises:
        ArtifactError: A file is missing or damaged, of another format, or of another artifact.
    """
    manifest = _read_manifest(folder)
    kind: Kind = manifest["kind"]
    artifact = load_artifact(folder / ARTIFACT)
    if digest_of_path(folder / ARTIFACT) != manifest.get("artifact"):
        raise _damaged("the artifact is not the one it was exported from", folder / ARTIFACT)
    try:
        bounds = Bounds(**manifest["bounds"])
    except (KeyError, TypeError, ConfigError) as error:
        raise _damaged(f"the bounds can not be used: {error}", folder / "manifest.json") from error
    return Exported(
        kind=kind, artifact=artifact, program=_open_program(kind, folder), bounds=bounds
    )


def program_of(artifact: TransformerArtifact, kind: Kind, bounds: Bounds) -> Program:
    """The program that an export of this very artifact would hold: for one with a fault in it."""
    with tempfile.TemporaryDirectory() as folder:  # once opened nothing of it is read again
        _write_program(exported_program(artifact, bounds), artifact, kind, Path(folder))
        return _open_program(kind, Path(folder))


def _write_program(
    program: ExportedProgram, artifact: TransformerArtifact, kind: Kind, folder: Path
) -> None:
    if kind == "onnx":
        import onnx

        from modern.export.onnx_graph import onnx_model

        places = module_places(artifact.layout, artifact.config.transformer)
        model = onnx_model(program, [place.path for place in places])
        onnx.save(model, folder / MODEL)
        return
    save_program(program, folder / GRAPH)
    if kind == "aoti":
        from modern.export.aoti import compile_package

        # As it will be read: the twin and the package are of one and the same graph.
        compile_package(load_program(folder / GRAPH), folder / PACKAGE)


def _open_program(kind: Kind, folder: Path) -> Program:
    if kind == "onnx":
        from modern.export.onnx_graph import OnnxGraph, read_onnx

        return OnnxGraph(read_onnx(folder / MODEL), threads=torch.get_num_threads())
    try:
        program = load_program(folder / GRAPH)
    except Exception as error:  # torch has no error of its own for this
        raise _damaged(f"the graph can not be read: {error}", folder / GRAPH) from error
    if kind == "torch":
        return ExportedGraph(program)
    from modern.export.aoti import CompiledPackage

    return CompiledPackage(folder / PACKAGE, program)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(f"the manifest can not be read: {error}", path) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(f"it is no export of the format {FORMAT!r}", path)
    kind, files = manifest.get("kind"), manifest.get("files")
    if kind not in KINDS or not isinstance(files, dict) or set(files) != set(_PROGRAMS[kind]):
        raise _damaged(f"the kind {kind!r} does not go with its files", path)
    for name, digest in files.items():
        try:
            found = digest_of_file(folder / name)
        except OSError as error:
            raise _damaged(f"{name} can not be read: {error.strerror}", folder / name) from error
        if found != digest:
            raise _damaged(f"{name} is not the file that was exported", folder / name)
    return manifest


def _damaged(what: str, path: Path) -> ArtifactError:
    return ArtifactError(f"{what}.", where=str(path), fix=_FIX)
