"""`pairstream tail`."""

from pathlib import Path
from typing import Any

import click

from pairstream.moments import MomentType
from pairstream.settings_loader import load, settings_options
from schemas.settings import KafkaSettings

ALONE = "no broker answers any more; this goes on once one does"

KINDS = ("pairs", "outcomes", "dead-letters")


@click.command("tail")
@click.option("--topic", "kinds", type=click.Choice(KINDS), multiple=True,
              help="Only these; repeatable. All three else.")  # fmt: skip
@click.option("--run", "run_id", metavar="RUN_ID", help="Only what is of this run.")
@click.option("--agent", "agent_id", metavar="AGENT_ID", help="Only what is of this agent.")
@click.option("--rule", metavar="RULE", help="Only pairs by this rule, such as mixed_code.")
@click.option("--outcome", metavar="OUTCOME",
              help="Only outcomes that are so (paired, discarded), or of this reason.")  # fmt: skip
@click.option("--since", type=MomentType(), metavar="TIME",
              help="Begin with what came from this time on (2026-11-24), or so long ago "
              "(30m, 2h); now else.")  # fmt: skip
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="RECORDS",
              help="End after so many; never else.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@settings_options(KafkaSettings)
def command(
    config_file: Path | None,
    kinds: tuple[str, ...],
    since: Any,
    number: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show pairs, outcomes and dead letters as they come, a line each; Ctrl-C ends it.

    Reads beside workers and trainer, and disturbs neither. A filter leaves out what has no such
    field: --rule shows pairs alone. Order holds within a run, not between runs.

    The keys of --json: kind (pair, outcome, dead_letter), place (topic/partition/offset), time,
    and row, as the topic holds it (null where it is none of ours), or letter, as `pairstream dlt
    list --json` gives it.

    \b
    Examples:
      pairstream tail --topic outcomes --outcome never_succeeded
      pairstream tail --since 1h --rule mixed_code -n 5 --json
    """
    from pairstream.following import Follower
    from pairstream.sightings import Filter, as_sighting
    from pairstream.stopping import until_stopped
    from schemas.topics import CONSUMED, PAIRS, RUN_OUTCOMES, Names

    wanted = Filter(**{name: flags.pop(name) for name in Filter._fields})
    settings = load(KafkaSettings, config_file, flags)
    names = Names(settings.topic_prefix)
    topics = {
        "pairs": [names.topic(PAIRS)],
        "outcomes": [names.topic(RUN_OUTCOMES)],
        "dead-letters": [names.dead_letters(topic) for topic in CONSUMED],
    }
    chosen = [name for kind in kinds or KINDS for name in topics[kind]]
    shown, is_alone = 0, False
    topics_once = list(dict.fromkeys(chosen))
    with until_stopped(), Follower(settings, topics_once, since=since) as follower:
        click.echo(f"following {', '.join(topics_once)}", err=True)
        while number is None or shown < number:
            for sighting in map(as_sighting, follower.news()):
                if wanted.has(sighting) and (number is None or shown < number):
                    click.echo(sighting.json_line() if as_json else sighting.line())
                    shown += 1
            if follower.is_alone != is_alone:
                is_alone = follower.is_alone
                click.echo(ALONE if is_alone else "the brokers answer again", err=True)
