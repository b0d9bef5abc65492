"""Models: where they come from, what the gate said, and which one is the latest."""

from typing import Literal

from pairstream.models import Model, model_ids, read_model, read_shelf
from pairstream.promotion import Changed, change_latest, reach_topic, rollback_target
from pairstream.ui.access import is_form_ours
from pairstream.ui.site import Answer, Asked, NotFound, Page, Redirect, Site
from schemas.errors import PairstreamError
from trainer.latest import read_latest

ANSWER_SECONDS = 2.0
WHY_CHARACTERS = 500

What = Literal["promoted", "rolled_back"]


def models(site: Site, asked: Asked) -> Answer:
    shelf = read_shelf(site.data)
    values = {
        "models": shelf.models[::-1],
        "latest": shelf.latest,
        "history": shelf.history[::-1],
        "target": _target(site),
        "changed": asked.query.get("changed"),
        "data": site.data.root,
    }
    return Page("models.html", "Models", values)


def model(site: Site, asked: Asked) -> Answer:
    found = _find(site, asked.path["name"])
    values = {"model": found, "manifest": found.manifest, "lineage": _lineage(site, found)}
    return Page("model.html", found.manifest.training_id, values)


def ask_promote(site: Site, asked: Asked) -> Answer:
    return _confirmation(site, _find(site, asked.path["name"]), "promoted")


def promote(site: Site, asked: Asked) -> Answer:
    return _change(site, asked, _find(site, asked.path["name"]), "promoted")


def ask_roll_back(site: Site, asked: Asked) -> Answer:
    return _confirmation(site, _find(site, asked.path["name"]), "rolled_back")


def roll_back(site: Site, asked: Asked) -> Answer:
    return _change(site, asked, _find(site, asked.path["name"]), "rolled_back")


def _find(site: Site, name: str) -> Model:
    """A name is never a path before it is known to be a model's."""
    if name not in model_ids(site.data):
        raise NotFound(f"no such model in {site.data.models}: see the list of models")
    return read_model(site.data, name)


def _target(site: Site) -> str | None:
    """Where a roll back leads; null where there is nothing to go back to."""
    try:
        return rollback_target(site.data)
    except PairstreamError:
        return None


def _lineage(site: Site, model: Model) -> list[Model]:
    """The models whose adapters it went on from, its own parent first."""
    known, found = set(model_ids(site.data)), [model]
    while (previous := found[-1].manifest.previous) and previous.training_id in known:
        known.discard(previous.training_id)
        found.append(read_model(site.data, previous.training_id))
    return found[1:]


def _confirmation(site: Site, model: Model, what: What, problem: str | None = None) -> Page:
    values = {
        "model": model,
        "gate": model.manifest.gate,
        "what": what,
        "latest": read_latest(site.data.models),
        "problem": problem,
        "form_token": site.form_token,
    }
    verb = "Promote" if what == "promoted" else "Roll back to"
    return Page("change.html", f"{verb} {model.manifest.training_id}", values,
                status=409 if problem else 200)  # fmt: skip


def _change(site: Site, asked: Asked, model: Model, what: What) -> Answer:
    """Only what our own page sent, and where the gate refused only what says so."""
    form = asked.form
    if not is_form_ours(form.get("form_token"), site.form_token):
        return _confirmation(site, model, what, "this page was older than the site: send it again")
    gate = model.manifest.gate
    if what == "promoted" and gate and not gate.passed and form.get("refused") != "on":
        problem = "the gate refused this model: tick that you want it all the same"
        return _confirmation(site, model, what, problem)
    why = form.get("why", "").strip()[:WHY_CHARACTERS] or None
    try:
        changed = _point(site, model, what, why, tell=form.get("untold") != "on")
    except PairstreamError as error:
        return _confirmation(site, model, what, str(error))
    return Redirect(f"/models?changed={changed.training_id}")


def _point(site: Site, model: Model, what: What, why: str | None, *, tell: bool) -> Changed:
    outbox = reach_topic(site.settings.trainer, wait_seconds=ANSWER_SECONDS) if tell else None
    return change_latest(site.data, model, what, why, outbox)
