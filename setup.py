"""Build the packages and the C++ scorer's Python module."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
PACKAGES = ("replay", "parity", "legacy", "cpp_serving", "modern")

CORE = [
    "numpy>=1.26",
    "pyarrow>=17",
    "scipy>=1.12",
    "click>=8.1",
    "rich>=13",
    "pydantic>=2.7",
    "ruamel.yaml>=0.18",
    "Jinja2>=3.1",
]
LEGACY = ["xgboost>=2.1", "tensorflow>=2.16"]
MODERN = ["torch>=2.9", "safetensors>=0.4"]
ONNX = ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"]
RAY = ["ray>=2.40"]
SERVE = [
    "httptools>=0.6",
    "prometheus-client>=0.20",
    "starlette>=0.40",
    "urllib3>=2",
    "uvicorn>=0.30",
]
DEV = [
    "clang-format",
    "cmake>=3.25",
    "hypothesis>=6.100",
    "import-linter>=2.0",
    "jsonschema>=4.21",
    "lightgbm>=4.0",
    "mypy>=1.13",
    "ninja",
    "pybind11>=3.0",
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "ruff>=0.9",
]


class CMakeBuild(build_ext):
    """Build `cpp_serving._core` with CMake, into the package (in place when editable)."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / "cmake"
        cmake = self._tool("cmake")
        subprocess.run(
            [
                cmake,
                "-S", str(ROOT),
                "-B", str(build),
                "-DCMAKE_BUILD_TYPE=Release",
                f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
                f"-DPython_EXECUTABLE={sys.executable}",
                f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
                "-DCPP_SERVING_TESTS=OFF",
            ],
            check=True,
        )  # fmt: skip
        subprocess.run([cmake, "--build", str(build), "--parallel", "2"], check=True)

    def _tool(self, name: str) -> str:
        beside_python = Path(sysconfig.get_path("scripts")) / name
        found = str(beside_python) if beside_python.exists() else shutil.which(name)
        if not found:
            raise SystemExit(f"{name} is needed to build cpp_serving: pip install {name}")
        return found


setup(
    name="parity-replay",
    version="0.1.0",
    description="Replay logged requests through two ranking stacks and name every place they part",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=[f"{name}{end}" for name in PACKAGES for end in ("", ".*")]),
    package_data={
        "replay": ["py.typed"],
        "parity": ["py.typed", "render/templates/*", "render/*.html", "render/*.j2"],
        "legacy": ["py.typed", "feature_sets/*.json"],
        "cpp_serving": ["py.typed", "_core.pyi", "include/cpp_serving/*.h"],
        "modern": ["py.typed", "feature_sets/*.json", "variants/*.json"],
    },
    ext_modules=[Extension("cpp_serving._core", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    install_requires=CORE,
    extras_require={
        "legacy": LEGACY,
        "modern": MODERN,
        "onnx": ONNX,
        "ray": RAY,
        "serve": SERVE,
        "all": [*LEGACY, *MODERN, *ONNX, *RAY, *SERVE],
        "dev": DEV,
    },
    entry_points={
        "console_scripts": ["parity = parity.cli.main:main"],
        "replay.stacks": [
            "legacy = legacy.stack:open_stack",
            "cpp = cpp_serving.stack:open_stack",
            "port = modern.port.stack:open_stack",
            "modern = modern.transformer.stack:open_stack",
        ],
    },
)
