"""A rebuild's share of the pair_ids, in a process of its own: sorted lines become files.

Started by pairstream/rebuild.py. The work comes as JSON on standard input; one report goes to
standard output.
"""

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from pairstream.logs import set_up_logs
from pairstream.reports import Report, report
from pairstream.sorted_lines import merged
from trainer.content import write_share
from trainer.datasets import pair_id_of
from trainer.selection import CutSettings, Reason


class Merging(Struct, frozen=True):
    """What one process merges, into `folder`.

    `sources`: folders with lines of the same range. `dropped`: pairs that other datasets have.
    """

    folder: str
    sources: list[str]
    settings: CutSettings
    left_out: dict[str, Reason]
    dropped: frozenset[str]


def merge(work: Merging) -> None:
    lines = merged([Path(source) for source in work.sources])
    wanted = (line for line in lines if pair_id_of(line) not in work.dropped)
    write_share(Path(work.folder), wanted, work.settings, work.left_out)


def main() -> None:
    set_up_logs()  # to standard error: standard output is for reports
    merging = msgspec.json.decode(sys.stdin.buffer.read(), type=Merging)
    try:
        merge(merging)
        report(Report(done=True))
    except OSError as error:
        report(Report(error=str(error)))


if __name__ == "__main__":
    main()
