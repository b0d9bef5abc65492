"""Trainings: which there are, how one goes, what its log says."""

from pathlib import Path

from pairstream.overview import join_trainings
from pairstream.training_facts import TrainingFacts, read_trainings
from pairstream.ui.metrics import charts, read_end, read_log, read_metrics
from pairstream.ui.site import Answer, Asked, NotFound, Page, Site, Text
from schemas.training_states import ENDED
from trainer.progress import Step, last_step
from trainer.training_manifest import LOG, METRICS, read_started, read_training

LIST_SECONDS, SECONDS = 10, 3
LOG_MAX_BYTES = 16 * 2**20


def trainings(site: Site, _: Asked) -> Answer:
    found = _all(site)[::-1]
    folders = _folders(site)
    values = {
        "trainings": found,
        "steps": {each.training_id: _step(folders, each) for each in found},
        "data": site.data.root,
    }
    is_going_on = any(each.state not in ENDED for each in found)
    return Page("trainings.html", "Trainings", values, LIST_SECONDS if is_going_on else None)


def training(site: Site, asked: Asked) -> Answer:
    found = _find(site, asked)
    with site.index() as index:
        told = index.steps(found.training_id)
    folder = _folders(site).get(found.training_id)
    values = {"training": found, "told": told, **(_from_folder(folder) if folder else {})}
    refresh = None if found.state in ENDED else SECONDS
    return Page("training.html", found.training_id, values, refresh)


def _from_folder(folder: Path) -> dict[str, object]:
    return {
        "folder": folder,
        "step": last_step(folder / METRICS),
        "charts": charts(read_metrics(folder / METRICS)),
        "manifest": read_training(folder),
        "started": read_started(folder),
        "log": read_log(folder / LOG),
    }


def training_log(site: Site, asked: Asked) -> Answer:
    found = _find(site, asked)
    folder = _folders(site).get(found.training_id)
    if folder is None:
        raise NotFound("its folder is not in this data directory, so there is no log of it here")
    return Text(f"{found.training_id}.log.txt", read_end(folder / LOG, LOG_MAX_BYTES))


def _all(site: Site) -> list[TrainingFacts]:
    """By its folder, or by what the topic of trainings told of it."""
    with site.index() as index:
        steps = {step.training_id: step for step in index.steps()}
    return join_trainings(read_trainings(site.data), steps.values())


def _folders(site: Site) -> dict[str, Path]:
    """Those that are there, by training: a name from the topic is never a path."""
    return {
        each.training_id: site.data.models / each.training_id for each in read_trainings(site.data)
    }


def _find(site: Site, asked: Asked) -> TrainingFacts:
    for each in _all(site):
        if each.training_id == asked.path["name"]:
            return each
    raise NotFound(f"no such training in {site.data.root}: see the list of trainings")


def _step(folders: dict[str, Path], training: TrainingFacts) -> Step | None:
    folder = folders.get(training.training_id)
    return None if folder is None or training.state in ENDED else last_step(folder / METRICS)
