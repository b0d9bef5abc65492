"""Which pairs of the topic were a published dataset's candidates, by it and those before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PairstreamError
from schemas.source import Source
from trainer.datasets import DatasetManifest, dataset_lines, pair_id_of, read_manifest
from trainer.layout import MANIFEST
from trainer.left_out import read_left_out, waiting_ids
from trainer.source import what_differs


@dataclass(frozen=True)
class Candidates:
    """The pairs in its offsets that no dataset before it has, and those that had waited.

    Attributes:
        dataset: what it says of itself.
    """

    dataset: DatasetManifest
    offsets: dict[int, tuple[int, int]]
    waiting: frozenset[str]
    before: list[Path]

    def check_source(self, found: Source) -> None:
        """Raises: PairstreamError for another topic than its own, where its offsets are nothing."""
        known = self.dataset.source
        if known != found:
            raise PairstreamError(
                f"{self.dataset.name} cannot be rebuilt from here: {what_differs(known, found)}; "
                "name its cluster and prefix, or leave out --dataset, for all pairs of this topic"
            )

    def compared(self, manifest: DatasetManifest) -> str:
        """Whether what was rebuilt is what was published, as a line for the user."""
        name = self.dataset.name
        if manifest.sha256 == self.dataset.sha256:
            return f"the same bytes as {name} (SHA-256)"
        gone = manifest.left_out.get("forgotten", 0) - self.dataset.left_out.get("forgotten", 0)
        if gone > 0:
            return f"not the bytes of {name} (SHA-256): {gone} pairs were forgotten since"
        return (
            f"not the bytes of {name} (SHA-256), which has {self.dataset.pairs} pairs: the topic "
            "no longer keeps all of them, or the datasets before it are not beside it"
        )

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
    return Candidates(manifest, offsets, waiting, _before(dataset))


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
