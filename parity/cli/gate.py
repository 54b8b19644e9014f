"""`parity gate`: open or shut, and why."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli.options import PATH, config_option, format_option


@click.command()
@click.argument("run", type=PATH)
@click.option("--artifact", type=PATH, required=True, metavar="PATH", help="What is to ship.")
@config_option
@format_option
def gate(*, run: Path, artifact: Path, config: Path | None, format_: str) -> int:
    """May this artifact ship, on the evidence of a finished RUN?

    The run is judged again by its own policy and, with --config, also by the one that FILE
    has for its two stacks. The artifact has to be the one that was judged, byte for byte.
    """
    from parity.judge.gate import gate as judge
    from parity.judge.gate import read_run
    from parity.render.visible import visible

    policy = None
    if config is not None:
        from parity.config import load_config

        report = read_run(run).report
        policy = load_config(config).policy(report.reference.name, report.challenger.name)
    answer = judge(run, artifact, policy=policy)
    if format_ == "json":
        from parity.judge.plain import plain_from
        from parity.render.json import json_text

        content = {
            "open": answer.is_open,
            "exit_code": answer.exit_code,
            "run": str(run),
            "artifact": str(artifact),
            "digest": answer.digest,
            "report_digest": answer.report_digest,
            "refusals": plain_from(answer.refusals),
        }
        click.echo(json_text(content), nl=False)
        return answer.exit_code
    if answer.is_open:
        click.secho("OPEN", fg="green", bold=True, nl=False)
        click.echo(f"  {visible(str(artifact))} is the artifact that {visible(str(run))} judged")
        click.echo(f"  digest    {answer.digest}")
        return answer.exit_code
    click.secho("REFUSED", fg="red", bold=True, nl=False)
    click.echo(f"  {visible(str(artifact))} may not ship on {visible(str(run))}")
    for refusal in answer.refusals:
        click.echo(f"  because   {visible(refusal.text)}")
    return answer.exit_code
