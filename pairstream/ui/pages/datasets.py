"""Datasets: what they are made of, and how two of them differ."""

from pathlib import Path

from msgspec.structs import asdict

from pairstream.dataset_diff import Comparison, DatasetDiff, different_settings, side_by_side
from pairstream.dataset_facts import list_datasets
from pairstream.training_facts import read_trainings
from pairstream.ui.site import Answer, Asked, NotFound, Page, Site
from trainer.composition import Composition, Quantiles
from trainer.datasets import DatasetManifest, dataset_lines, read_manifest

# Beyond so many bytes on both sides a comparison of pairs would hold up its page.
COMPARED_BYTES = 16 * 2**20

LENGTHS = ("prompt_length", "chosen_length", "rejected_length")


def datasets(site: Site, _: Asked) -> Answer:
    entries = list_datasets(site.data)[::-1]
    return Page("datasets.html", "Datasets", {"datasets": entries, "data": site.data.root})


def dataset(site: Site, asked: Asked) -> Answer:
    name = asked.path["name"]
    manifest = read_manifest(_folder(site, name))
    names = site.data.dataset_names()
    values = {
        "manifest": manifest,
        "composition": manifest.composition,
        "quantiles": _quantiles(manifest.composition),
        "settings": asdict(manifest.settings),
        "trainings": [t for t in read_trainings(site.data) if t.dataset == name],
        "others": [each for each in reversed(names) if each != name],
    }
    return Page("dataset.html", name, values)


def difference(site: Site, asked: Asked) -> Answer:
    a, b = asked.query.get("a", ""), asked.query.get("b", "")
    folders = _folder(site, a), _folder(site, b)
    manifests = read_manifest(folders[0]), read_manifest(folders[1])
    size = sum(entry.bytes for manifest in manifests for entry in manifest.files.values())
    values = {
        "a": manifests[0],
        "b": manifests[1],
        "settings": different_settings(manifests[0].settings, manifests[1].settings),
        "rules": _rules(*manifests),
        "quantiles": [_quantiles(manifest.composition) for manifest in manifests],
        "found": _compare(folders, manifests) if size <= COMPARED_BYTES else None,
        "size": size,
    }
    return Page("difference.html", f"{a} and {b}", values)


def _folder(site: Site, name: str) -> Path:
    """Only of a dataset that is published: a name is never a path before that is known."""
    names = site.data.dataset_names()
    if name not in names:
        known = f"there are {names[0]} to {names[-1]}" if names else "the trainer has cut none yet"
        raise NotFound(f"no such dataset in {site.data.root}: {known}")
    return site.data.datasets / name


def _rules(a: DatasetManifest, b: DatasetManifest) -> dict[str, tuple[int, int]]:
    names = dict.fromkeys([*a.rules, *b.rules])
    return {name: (a.rules.get(name, 0), b.rules.get(name, 0)) for name in names}


def _compare(
    folders: tuple[Path, Path], manifests: tuple[DatasetManifest, DatasetManifest]
) -> DatasetDiff:
    comparison = Comparison(keep_ids=False)
    for lines in side_by_side(*map(dataset_lines, folders)):
        comparison.add(*lines)
    a, b = manifests
    return comparison.result((a.name, b.name), a.settings, b.settings)


def _quantiles(composition: Composition | None) -> dict[str, Quantiles]:
    """What there is to measure, by what it is of."""
    if composition is None:
        return {}
    found = {name: getattr(composition, name) for name in (*LENGTHS, "score_gap")}
    return {name.replace("_", " "): each for name, each in found.items() if each is not None}
