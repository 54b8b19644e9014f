"""Instructions a row, by callgrind: a figure that no other load on the machine changes.

    python benchmarks/scorer/instructions.py --library build/.../libcpp_serving.a

valgrind knows no AVX-512, so the kernels up to AVX2 are counted. It counts what is executed, not
how long it takes: an instruction of AVX2 does the work of many.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from shapes import SHAPES, rows_of, trained

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "cpp_serving" / "include"
RESULTS = HERE / "results" / "instructions.md"
_CALLS = ((1, 100), (64, 2), (512, 1))


def main() -> None:
    """Build the program, count, write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, required=True)
    library = parser.parse_args().library
    lines = [
        "# Instructions a row",
        "",
        "Counted by callgrind in `Scorer::ScoreMatrix`, the same on every run.",
        "",
        "| shape, kernel | " + " | ".join(f"{rows} a call" for rows, _ in _CALLS) + " |",
        "| --- |" + " --- |" * len(_CALLS),
    ]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "calls"
        subprocess.run(
            ["g++", "-O2", "-g", "-std=c++17", f"-I{INCLUDE}", HERE / "calls.cc", library,
             "-lpthread", "-o", program],
            check=True,
        )  # fmt: skip
        for shape in SHAPES:
            rows = Path(folder) / "rows"
            rows_of(shape, 512, seed=9).tofile(rows)
            for kernel in ("avx2", "scalar"):
                cells = []
                for count, calls in _CALLS:
                    model = trained(shape) / "scorer.bin"
                    command = [program, model, rows, kernel, str(count), str(calls)]
                    cells.append(f"{instructions(command) / count / calls:,.0f}")
                lines.append(f"| {shape.name}, {kernel} | " + " | ".join(cells) + " |")
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def instructions(command: list[str | Path]) -> int:
    """Those executed in ScoreMatrix and what it calls."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=*ScoreMatrix*", *command],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise SystemExit(f"callgrind counted nothing: {done.stderr}")
    return int(found[1])


if __name__ == "__main__":
    main()
