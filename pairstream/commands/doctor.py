"""`pairstream doctor`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import InvalidSettings, PairstreamError
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
    removes. Run it where the service runs, with the service's settings. Exit code 1 when something
    is wrong; notes are none.

    The keys of --json: findings (check, state as ok, note or wrong, found, remedy), wrong (how
    many).

    \b
    Example:
      pairstream doctor --base-model ./models/qwen3-0.6b
    """
    from pairstream.doctor.examination import examine
    from pairstream.doctor.findings import finding_lines, from_error
    from pairstream.terminal import as_json_text, counted

    findings = []
    try:
        load(WorkerSettings, config_file, {})
        topics = load(TopicSettings, config_file, flags)
        trainer = load(TrainerSettings, config_file, flags)
    except InvalidSettings as error:
        examined = iter([from_error("settings", error)])
    else:
        examined = examine(topics, trainer)
    for finding in examined:
        findings.append(finding)
        if not as_json:
            click.echo("\n".join(finding_lines([finding])))
    wrong = sum(finding.state == "wrong" for finding in findings)
    if as_json:
        click.echo(as_json_text({"findings": findings, "wrong": wrong}))
    if wrong:
        raise PairstreamError(f"{counted(wrong, 'thing is', 'things are')} wrong")
