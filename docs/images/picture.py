"""Draw what the terminal showed of a finished run as an SVG picture, for the README.

.venv/bin/python docs/images/picture.py RUN docs/images/replay.svg

The README's RUN is of its two planted bugs: `parity replay --date 2019-11-24 --reference legacy
--challenger port --plant hour_shift:features.hour_tokyo --plant weight_scale:regression.leaf_sum`.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from parity.judge.gate import read_run
from parity.judge.verdict import decide
from parity.render.terminal import lines


def main(run: Path, picture: Path) -> None:
    """Read the run's verdict and print its report into a picture."""
    judged = read_run(run)
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    command = "parity replay --date {} --reference {} --challenger {}{}".format(
        judged.report.dates[0],
        judged.report.reference.name,
        judged.report.challenger.name,
        "".join(f" --plant {plant}" for plant in judged.report.plants),
    )
    console.print(f"[bold]$[/bold] {command}\n", highlight=False)
    verdict = decide(judged.report, judged.policy)
    for line in lines(judged.report, verdict, run_dir=Path("runs") / run.name):
        console.print(line, highlight=False)
    picture.write_text(console.export_svg(title="parity"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
