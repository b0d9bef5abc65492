"""`pairstream doctor`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load_what_holds, settings_options
from schemas.errors import PairstreamError
from schemas.settings import TopicSettings, TrainerSettings, WorkerSettings


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@settings_options(TopicSettings, TrainerSettings)
def command(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Check all that a deployment needs; each finding that is not ok says what to do.

    The packages and the client's version; settings in file and environment; the brokers, the
    copies, the topics and their settings, the brokers' clock; room for the data directory, and how
    fast what is written there is safe; the Docker Engine, a GPU, the interpreter of trainings in a
    process, the base model. It writes nothing but small files in the data directory, which it
    removes. Run it where the service runs, with the service's settings; one that is misspelt, or
    has no such value, is told, and left at its default for the other checks. Exit code 1 when
    something is wrong; notes are none.

    The keys of --json: findings (check, state as ok, note or wrong, found, remedy), wrong (how
    many).

    \b
    Example:
      pairstream doctor --base-model ./models/qwen3-0.6b
    """
    from pairstream.doctor.examination import examine
    from pairstream.doctor.findings import finding_lines
    from pairstream.terminal import as_json_text, counted

    _, of_worker = load_what_holds(WorkerSettings, config_file, {})
    topics, of_topics = load_what_holds(TopicSettings, config_file, flags)
    trainer, of_trainer = load_what_holds(TrainerSettings, config_file, flags)
    problems = dict.fromkeys(map(str, [*of_worker, *of_topics, *of_trainer]))
    findings = []
    for finding in examine(topics, trainer, list(problems)):
        findings.append(finding)
        if not as_json:
            click.echo("\n".join(finding_lines([finding])))
    wrong = sum(finding.state == "wrong" for finding in findings)
    if as_json:
        click.echo(as_json_text({"findings": findings, "wrong": wrong}))
    if wrong:
        raise PairstreamError(f"{counted(wrong, 'thing is', 'things are')} wrong")
