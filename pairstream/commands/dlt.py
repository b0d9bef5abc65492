"""`pairstream dlt list`, `pairstream dlt show` and `pairstream dlt replay`."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.moments import MomentType
from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pairstream.letters import Place, Wanted

NEWEST = 100


class PlaceType(click.ParamType):
    """Where a dead letter stands."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Place":
        from pairstream.letters import as_place

        place = as_place(value)
        if place is None:
            example = "TOPIC/PARTITION/OFFSET such as pairstream.run-events.v1-dlt/0/17"
            self.fail(f"{value} is no {example}: see `pairstream dlt list`", param, ctx)
        return place


_FILTERS: list[Callable[[Any], Any]] = [
    click.option("--topic", metavar="TOPIC",
                 help="Only dead letters of this topic, such as pairstream.run-events.v1."),
    click.option("--reason", metavar="REASON",
                 help="Only those refused for this reason, such as invalid_event."),
    click.option("--run", "run_id", metavar="RUN_ID",
                 help="Only those of this run: it is their key, or their value names it."),
    click.option("--since", type=MomentType(), metavar="TIME",
                 help="Only those refused from this time on: 2026-11-24, 2026-11-24T21:30:00Z "
                 "(UTC without a zone), or so long ago: 90s, 30m, 2h, 7d."),
    click.option("--until", type=MomentType(), metavar="TIME",
                 help="Only those refused before this time, written in the same ways."),
]  # fmt: skip


def filters(command: Any) -> Any:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _wanted(flags: Mapping[str, Any], places: Iterable["Place"] = ()) -> "Wanted":
    from pairstream.letters import Wanted

    since, until = flags["since"], flags["until"]
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since is not before --until: there is nothing between them")
    return Wanted(
        reason=flags["reason"],
        run_id=flags["run_id"],
        since=since,
        until=until,
        places=frozenset(map(str, places)) or None,
    )


@click.group("dlt")
def command() -> None:
    """Show and re-send dead letters: records that were refused, bytes as they came.

    `list` finds them, `show` prints one of them whole, and `replay` sends them again once what was
    wrong is mended. The place of a letter, TOPIC/PARTITION/OFFSET, is the same in all three.
    """


@command.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=0), default=NEWEST, show_default=True,
              metavar="LETTERS", help="Show at most so many, the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@settings_options(KafkaSettings)
def list_letters(
    config_file: Path | None, topic: str | None, limit: int, as_json: bool, **flags: Any
) -> None:
    """Show the newest dead letters, oldest of them first, and counts of all by reason.

    Each with its time, its reason, its place, the place that the record came from, its key, and
    what is wrong. One that was re-sent and refused again says so. Filters narrow each other;
    --since also reads less.

    The keys of --json: letters (topic, partition, offset, time, reason, detail, service,
    source_topic, source_partition, source_offset, key, run_id as the value names it, replayed_from,
    is_cut: it holds only a part of its record, sha256 of key and value), superseded (places of
    those of them that were re-sent and have a newer letter), counts by reason, total, looked_at
    (how many letters were read to find them).

    \b
    Examples:
      pairstream dlt list --since 2h
      pairstream dlt list --run r-1 --reason conflicting_attempt --limit 20
    """
    from pairstream.letter_views import make_listing
    from pairstream.letters import LetterBox, letter_topics
    from pairstream.letters_text import listing_lines
    from pairstream.terminal import as_json_text
    from schemas.topics import Names

    wanted = _wanted(flags)
    settings = load(KafkaSettings, config_file, flags)
    topics = letter_topics(Names(settings.topic_prefix), topic)
    letters = LetterBox(settings, topics).letters(since=wanted.since)
    listing = make_listing(letters, wanted, limit=limit)
    lines = listing_lines(listing, wanted, topics)
    click.echo(as_json_text(listing) if as_json else "\n".join(lines))


@command.command("show")
@click.argument("place", type=PlaceType(), metavar="PLACE")
@click.option("--raw", is_flag=True, help="Only the value, its exact bytes, to a file or a pipe.")
@click.option("--json", "as_json", is_flag=True,
              help="One JSON object with the same facts, bytes in base64.")  # fmt: skip
@settings_options(KafkaSettings)
def show_letter(
    config_file: Path | None, place: "Place", raw: bool, as_json: bool, **flags: Any
) -> None:
    """Show all of the dead letter at PLACE, written TOPIC/PARTITION/OFFSET as `list` prints it.

    When, why and by whom it was refused, the place that the record came from, its key, headers and
    value: JSON is indented, other text stands as it came, with control characters as escapes, and
    what is no UTF-8 as a hex dump.

    The keys of --json: letter, as `list` gives it; headers (name, and value in base64); key and
    value in base64; text, the value where it is UTF-8.

    \b
    Examples:
      pairstream dlt show pairstream.run-events.v1-dlt/0/17
      pairstream dlt show pairstream.run-events.v1-dlt/0/17 --raw > refused.json
    """
    from pairstream.letter_views import as_record
    from pairstream.letters import LetterBox, letter_topics
    from pairstream.letters_text import record_lines
    from pairstream.terminal import as_json_text
    from schemas.topics import Names

    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other")
    if raw and sys.stdout.isatty():
        raise click.UsageError("--raw could steer the terminal: send it to a file or a pipe")
    settings = load(KafkaSettings, config_file, flags)
    box = LetterBox(settings, letter_topics(Names(settings.topic_prefix), None))
    record = as_record(box.message(place))
    if raw:
        click.echo(record.value or b"", nl=False)
    else:
        click.echo(as_json_text(record) if as_json else "\n".join(record_lines(record)))


@command.command("replay")
@filters
@click.option("--at", "places", type=PlaceType(), multiple=True, metavar="PLACE",
              help="Only the letter at this place, TOPIC/PARTITION/OFFSET as `list` prints it; "
              "repeatable.")  # fmt: skip
@click.option("--again", is_flag=True, help="Also those that were re-sent before and came back.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and where to.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@settings_options(KafkaSettings)
def replay_letters(
    config_file: Path | None,
    topic: str | None,
    places: tuple["Place", ...],
    again: bool,
    dry_run: bool,
    yes: bool,
    **flags: Any,
) -> None:
    """Send dead letters to their topic again: all, or those chosen, once what was wrong is mended.

    Key, value and headers are as they came; the header pairstream-dlt-replayed-from says which
    letter was re-sent. What is refused again comes back as a new dead letter with that header:
    `list` shows it, and `replay` leaves it and the letter before it alone, however they are
    chosen, but for the newest one with --again. A letter that holds only a part of its record, as
    that was too large, is left out and named. A letter stays in its topic when it is re-sent,
    and nothing here tells that its record was taken in this time: another `replay` sends it once
    more, which changes nothing, since what is there twice counts once.

    \b
    Examples:
      pairstream dlt replay --reason invalid_event --since 2026-11-24 --dry-run
      pairstream dlt replay --at pairstream.run-events.v1-dlt/0/17
    """
    from pairstream.cluster import Cluster
    from pairstream.letters import LetterBox, choose, letter_topics
    from pairstream.letters_text import dry_run_lines, left_out_lines
    from pairstream.sending import Sender
    from pairstream.terminal import counted
    from schemas.topics import Names

    wanted = _wanted(flags, places)
    settings = load(KafkaSettings, config_file, flags)
    topics = letter_topics(Names(settings.topic_prefix), topic)
    box = LetterBox(settings, topics)
    # All are read, whenever they came: an older clock may have stamped what stands for a letter.
    choice = choose(box.letters(), wanted, again=again)
    if choice.missing:
        missing = ", ".join(choice.missing)
        raise PairstreamError(f"no such dead letter at {missing}: see `pairstream dlt list`")
    for line in left_out_lines(choice, wanted, topics):
        click.echo(line)
    if not choice.chosen:
        return
    if dry_run:
        click.echo("\n".join(dry_run_lines(choice, topics)))
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
