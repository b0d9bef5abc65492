"""`pairstream dlt list` and `pairstream dlt replay`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pairstream.letters import Choice

NEWEST = 100

topic_option = click.option(
    "--topic",
    metavar="TOPIC",
    help="Only the dead letters of this topic, such as pairstream.run-events.v1.",
)
reason_option = click.option(
    "--reason", metavar="REASON", help="Only those refused for this reason, such as invalid_event."
)


@click.group("dlt")
def command() -> None:
    """Show and re-send dead letters: records that were refused, bytes as they came."""


@command.command("list")
@topic_option
@reason_option
@click.option("--limit", type=click.IntRange(min=0), default=NEWEST, show_default=True,
              metavar="LETTERS", help="Show at most so many, the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="One JSON object with the same facts.")  # fmt: skip
@settings_options(KafkaSettings)
def list_letters(
    config_file: Path | None,
    topic: str | None,
    reason: str | None,
    limit: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show the newest dead letters, oldest of them first, and counts of all by reason.

    Each with its time, its reason, where it stands, where the record came from, its key, and what
    is wrong. One that was re-sent and refused again says so.

    The keys of --json: letters (topic, partition, offset, time, reason, detail, service,
    source_topic, source_partition, source_offset, key, replayed_from), superseded (those of them,
    as topic/partition/offset, that were re-sent and have a newer letter), counts by reason, total.

    \b
    Example:
      pairstream dlt list --reason conflicting_attempt --limit 20
    """
    from pairstream.letters import LetterBox, letter_topics, make_listing
    from pairstream.letters_text import listing_lines
    from pairstream.terminal import as_json_text
    from schemas.topics import Names

    settings = load(KafkaSettings, config_file, flags)
    topics = letter_topics(Names(settings.topic_prefix), topic)
    listing = make_listing(LetterBox(settings, topics).letters(), reason=reason, limit=limit)
    click.echo(as_json_text(listing) if as_json else "\n".join(listing_lines(listing)))


Places = set[tuple[int, int]]


def _places(_: click.Context, __: click.Parameter, written: tuple[str, ...]) -> Places | None:
    places = set()
    for text in written:
        partition, colon, offset = text.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()):
            raise click.BadParameter(f"{text} is no PARTITION:OFFSET, such as 0:17")
        places.add((int(partition), int(offset)))
    return places or None


@command.command("replay")
@topic_option
@reason_option
@click.option("--at", multiple=True, callback=_places, metavar="PARTITION:OFFSET",
              help="Only the letter at this place, with --topic; repeatable.")  # fmt: skip
@click.option("--again", is_flag=True, help="Also those that were re-sent before and came back.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@settings_options(KafkaSettings)
def replay_letters(
    config_file: Path | None,
    topic: str | None,
    reason: str | None,
    at: Places | None,
    again: bool,
    yes: bool,
    **flags: Any,
) -> None:
    """Send dead letters to their topic again: all, or those chosen, once what was wrong is mended.

    Key, value and headers are as they came; the header pairstream-dlt-replayed-from says which
    letter was re-sent. What is refused again comes back as a new dead letter with that header:
    `list` shows it, and `replay` leaves it and the letter before it alone, but for the newest one
    with --again. A letter stays in its topic when it is re-sent, and nothing here tells that its
    record was taken in this time: another `replay` sends it once more, which changes nothing,
    since what is there twice counts once.

    \b
    Example:
      pairstream dlt replay --topic pairstream.run-events.v1 --at 0:17
    """
    from pairstream.cluster import Cluster
    from pairstream.letters import LetterBox, choose, letter_topics
    from pairstream.sending import Sender
    from pairstream.terminal import counted
    from schemas.topics import Names

    if at is not None and topic is None:
        raise click.UsageError("--at needs --topic")
    settings = load(KafkaSettings, config_file, flags)
    topics = letter_topics(Names(settings.topic_prefix), topic)
    box = LetterBox(settings, topics)
    choice = choose(box.letters(), reason=reason, at=at, again=again)
    if at is not None:
        _check_found(len(at), choice)
    click.echo(_left_out(choice), nl=False)
    if not choice.chosen:
        click.echo("no dead letters to re-send")
        return
    Cluster(settings).require(*topics.values())
    targets = ", ".join(sorted({topics[letter.topic] for letter in choice.chosen}))
    letters = counted(len(choice.chosen), "dead letter")
    if sys.stdin.isatty() and not yes:
        click.confirm(f"Re-send {letters} to {targets}?", abort=True)
    sender = Sender(settings)
    box.resend(choice.chosen, topics, sender)
    sender.finish("dead letters", remedy="run it again, what is there twice changes nothing")
    click.echo(f"{letters} re-sent to {targets} and acknowledged")


def _check_found(asked: int, choice: "Choice") -> None:
    found = len(choice.chosen) + choice.superseded + choice.refused_again
    if found < asked:
        raise PairstreamError(
            f"{asked - found} of the places hold no such dead letter: see `pairstream dlt list`"
        )


def _left_out(choice: "Choice") -> str:
    lines = ""
    if choice.superseded:
        lines += f"{choice.superseded} left out: re-sent before, a newer letter stands for each\n"
    if choice.refused_again:
        lines += f"{choice.refused_again} left out: re-sent before and refused again (--again)\n"
    return lines
