"""The stub says what the compiled module has, and the C++ library knows nothing of Python."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from cpp_serving import _core

PACKAGE = Path(_core.__file__).parent
STUB = ast.parse((PACKAGE / "_core.pyi").read_text())
CLASSES = {
    node.name: node
    for node in STUB.body
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
}


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_") or name == "__init__"}


def parameters_of(signature: str) -> list[str]:
    """Names in `f(self: X, batch: object, *, faults: Faults = ...) -> ...`, as pybind11 writes it."""
    inside = signature[signature.index("(") + 1 : signature.rindex(") -> ")]
    depth = 0
    plain = ""
    for character in inside:
        depth += character in "[(<"
        plain += character if depth == 0 else ""
        depth -= character in "])>"
    names = [part.split(":")[0].split("=")[0].strip() for part in plain.split(",")]
    return [name for name in names if name not in ("self", "*", "")]


def test_the_stub_and_the_module_have_the_same_classes() -> None:
    module = {name for name, value in vars(_core).items() if inspect.isclass(value)}
    assert module == set(CLASSES)
    others = {
        name for name, value in vars(_core).items()
        if not name.startswith("_") and not inspect.isclass(value)
    }  # fmt: skip
    assert others == set()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_class_has_the_members_and_parameters_of_its_stub(name: str) -> None:
    compiled = getattr(_core, name)
    functions = {n.name: n for n in CLASSES[name].body if isinstance(n, ast.FunctionDef)}
    assert public(list(vars(compiled))) == set(functions)
    for member, node in functions.items():
        decorators = {ast.unparse(d) for d in node.decorator_list}
        found = vars(compiled)[member]
        assert isinstance(found, property) is ("property" in decorators), member
        if isinstance(found, property):
            continue
        assert isinstance(found, staticmethod) is ("staticmethod" in decorators), member
        arguments = node.args
        assert arguments.vararg is None
        declared = [a.arg for a in (*arguments.args, *arguments.kwonlyargs) if a.arg != "self"]
        assert parameters_of(getattr(compiled, member).__doc__) == declared, member


def test_the_library_contains_no_python() -> None:
    files = [*(PACKAGE / "src").glob("*"), *(PACKAGE / "include").rglob("*.h")]
    assert len(files) > 15
    for file in files:
        text = file.read_text()
        assert not re.search(r"pybind11|Python\.h|PyObject", text), file
        assert not re.search(r"std::cout|std::cerr|printf|\babort\(", text), file
