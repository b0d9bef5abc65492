"""Positions: how segments, datasets, groups and topics fit together."""

from collections.abc import Mapping
from itertools import pairwise

from pairstream.verify.files import DataFiles, DatasetFolder
from pairstream.verify.report import Check, Checks
from pairstream.verify.snapshot import Snapshot
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS


def check_chain(check: Check, datasets: list[DatasetFolder]) -> None:
    """Each dataset goes on where the one before it ends."""
    for number, dataset in enumerate(datasets, 1):
        parent = datasets[number - 2].name if number > 1 else None
        check.checked += 1
        if dataset.name != f"ds-{number:06d}" or dataset.manifest.parent != parent:
            dataset.is_sound = False
            check.found(f"a dataset before it is missing (its parent: {parent})", id=dataset.name)
    for earlier, later in pairwise(datasets):
        waiting, waited = earlier.manifest.waiting, later.manifest.waited
        if waiting != waited:
            what = f"{waited} of its candidates had waited; in {earlier.name} {waiting} wait"
            check.found(what, id=later.name)
        for partition, range_ in earlier.manifest.offsets.items():
            after = later.manifest.offsets.get(partition)
            if after is None or after.from_ != range_.to:
                later.is_sound = False
                begins = "nowhere" if after is None else after.from_
                what = f"partition {partition} begins at {begins}; {earlier.name} ends at"
                check.found(f"{what} {range_.to}", id=later.name)


def check_coverage(check: Check, files: DataFiles) -> None:
    """Segments lead from where the trainer began up to where the newest dataset ends."""
    starts = (files.source.starts if files.source else None) or {}
    for partition, segments in files.segments.items():
        first, begin = segments[0].first, starts.get(partition)
        if begin is None:
            begin = min(first, _first_offset(files.datasets, partition, first))
        if first != begin:
            what = f"partition {partition} begins at {first}, not at {begin}"
            check.found(what, at=str(segments[0].path))
    for partition, to in _ends(files.datasets).items():
        position = files.position(partition)
        if to > position:
            what = f"partition {partition} ends at {position}, the newest dataset at {to}"
            check.found(f"segments are missing: {what}")


def check_losses(check: Check, files: DataFiles) -> None:
    """What the user has accepted to lose is covered by a segment without rows, and told."""
    for loss in files.source.losses if files.source else []:
        place = f"offsets {loss.first} to {loss.last} of partition {loss.partition}"
        check.note(f"{place} were gone before they were read, and the user went on")
        covering = (
            segment
            for segment in files.segments.get(loss.partition, [])
            if segment.first <= loss.first and loss.last <= segment.last
        )
        if not any(covering):
            check.found(f"{place} were accepted as lost, and no segment covers them")


def _first_offset(datasets: list[DatasetFolder], partition: int, otherwise: int) -> int:
    offsets = (dataset.manifest.offsets.get(str(partition)) for dataset in datasets)
    return next((range_.from_ for range_ in offsets if range_ is not None), otherwise)


def _ends(datasets: list[DatasetFolder]) -> dict[int, int]:
    newest = datasets[-1].manifest.offsets if datasets else {}
    return {int(partition): range_.to for partition, range_ in newest.items()}


def check_groups(
    checks: Checks, snapshot: Snapshot, files: DataFiles, shown: Mapping[int, int] | None
) -> None:
    """What groups have committed lies within the topics; `shown`: what the trainer shows of its
    position, null where the data directory is another's.
    """
    check = checks.positions
    for topic in (RUN_EVENTS, GARBLE_REQUESTS):
        for partition, (_, end) in snapshot.ranges[topic.name].items():
            position = snapshot.committed.get((topic.name, partition), 0)
            _check_before(
                check, "the workers' position", position, end, f"{topic.name}/{partition}"
            )
    if shown is not None:
        for partition, kept in snapshot.kept[PAIRS.name].items():
            at, position = f"{PAIRS.name}/{partition}", files.position(partition)
            _check_before(check, "the trainer's position", position, kept[1], at)
            _check_shown(check, shown.get(partition, 0), position, kept, at)


def _check_shown(check: Check, shown: int, position: int, kept: tuple[int, int], at: str) -> None:
    """A copy of the directory is behind its trainer, which goes on; whoever restores it has lost
    nothing while the topic keeps what comes next.
    """
    low, end = kept
    _check_before(check, "what the trainer shows", shown, end, at)
    if position < shown <= end and position < low:
        what = f"the segments end at {position}, the trainer shows {shown}, the topic begins at"
        check.found(f"{what} {low}: what is between is lost to this directory", at=at)
    elif position < shown <= end:
        check.note(
            "this directory is behind what the trainer shows (a copy?); what it lacks is in the "
            "topic"
        )


def _check_before(check: Check, what: str, position: int, end: int, at: str) -> None:
    check.checked += 1
    if position > end:
        check.found(f"{what} {position} lies behind the end {end}", at=at)
