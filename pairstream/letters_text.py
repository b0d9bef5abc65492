"""Dead letters as text for people."""

from collections.abc import Iterator

from pairstream.letters import Letter, Listing
from pairstream.terminal import printable, shortened, shown_time

KEY_WIDTH = 80
DETAIL_WIDTH = 400


def listing_lines(listing: Listing) -> Iterator[str]:
    for letter in listing.letters:
        yield from _letter_lines(letter, was_resent=letter.place in listing.superseded)
    if len(listing.letters) < listing.total:
        shown = f"the newest {len(listing.letters)} of {listing.total} are shown"
        yield f"{shown}; --limit shows more"
    yield from (f"{number:>8} {printable(reason)}" for reason, number in listing.counts.items())
    yield f"{listing.total:>8} in all"


def _letter_lines(letter: Letter, *, was_resent: bool) -> Iterator[str]:
    """`was_resent`: a newer letter stands for it."""
    key = "none" if letter.key is None else shortened(printable(letter.key), KEY_WIDTH)
    yield (
        f"{shown_time(letter.time)}  {printable(letter.reason)}  {letter.topic} "
        f"{letter.partition}:{letter.offset}  from {_source(letter)}  key {key}"
    )
    if letter.detail:
        yield f"    {shortened(printable(letter.detail), DETAIL_WIDTH)}"
    if letter.replayed_from is not None:
        yield f"    re-sent from {printable(letter.replayed_from)}, and refused again"
    if was_resent:
        yield "    re-sent, and refused again: a newer letter stands for it"


def _source(letter: Letter) -> str:
    if letter.source_topic is None:
        return "unknown"
    partition = "?" if letter.source_partition is None else letter.source_partition
    offset = "?" if letter.source_offset is None else letter.source_offset
    return f"{printable(letter.source_topic)} {partition}:{offset}"
