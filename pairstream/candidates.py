"""Which pairs of the topic were a published dataset's candidates, by it and those before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.datasets import dataset_lines, pair_id_of, read_manifest
from trainer.layout import MANIFEST
from trainer.left_out import read_left_out, waiting_ids


@dataclass(frozen=True)
class Candidates:
    """The pairs in its offsets that no dataset before it has, and those that had waited."""

    offsets: dict[int, tuple[int, int]]
    waiting: frozenset[str]
    before: list[Path]

    def earlier(self) -> Iterator[str]:
        """Pairs that the datasets before it took or left out for good: in its offsets they are
        duplicates.
        """
        for dataset in self.before:
            yield from map(pair_id_of, dataset_lines(dataset))
            lists = read_left_out(dataset, read_manifest(dataset))
            yield from (left.pair_id for left in lists if not left.waits)


def candidates_of(dataset: Path) -> Candidates:
    """Datasets before it are looked for beside it.

    Raises: PairstreamError where pairs had waited in the one before it and that is not there.
    """
    manifest = read_manifest(dataset)
    offsets = {int(p): (offsets.from_, offsets.to) for p, offsets in manifest.offsets.items()}
    waiting: frozenset[str] = frozenset()
    if manifest.waited and manifest.parent is not None:
        parent = dataset.absolute().parent / manifest.parent
        waiting = waiting_ids(parent, read_manifest(parent))
    return Candidates(offsets, waiting, _before(dataset))


def _before(dataset: Path) -> list[Path]:
    found: list[Path] = []
    parent = read_manifest(dataset).parent
    while parent is not None:
        folder = dataset.absolute().parent / parent
        if not (folder / MANIFEST).exists():
            break
        found.append(folder)
        parent = read_manifest(folder).parent
    return found
