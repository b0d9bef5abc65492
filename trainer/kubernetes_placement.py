"""Where in a cluster trainings run, from the settings. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InvalidSettings
from schemas.settings import TrainingSettings

_KEY = r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?"

_CLAIM = re.compile(r"([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)=(/.+)")
_SELECTOR = re.compile(rf"({_KEY})=({_VALUE})", re.ASCII)
_TOLERATION = re.compile(
    rf"({_KEY})(?:=({_VALUE}))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?", re.ASCII
)


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim, and the folder in which the trainer has it."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Placement:
    """What the settings of a cluster say, read and checked."""

    image: str
    namespace: str
    claims: list[Claim]
    node_selector: dict[str, str]
    tolerations: list[dict[str, str]]


def placement(settings: TrainingSettings) -> Placement:
    """Raises: InvalidSettings, with what a setting should look like."""
    if not settings.kubernetes_image:
        raise InvalidSettings(
            "kubernetes-image is not set: a cluster builds no image; push the training image to a "
            "registry that its nodes reach, and name it"
        )
    claims = [
        Claim(found[1], Path(found[2]))
        for found in _parts(
            "kubernetes-claims", settings.kubernetes_claims, _CLAIM, "CLAIM=/FOLDER"
        )
    ]
    if len({claim.name for claim in claims}) < len(claims):
        raise InvalidSettings("kubernetes-claims: a claim is named twice")
    selectors = _parts(
        "kubernetes-node-selector", settings.kubernetes_node_selector, _SELECTOR, "KEY=VALUE"
    )
    tolerations = _parts(
        "kubernetes-tolerations",
        settings.kubernetes_tolerations,
        _TOLERATION,
        "KEY[=VALUE][:EFFECT]",
    )
    return Placement(
        image=settings.kubernetes_image,
        namespace=settings.kubernetes_namespace,
        claims=claims,
        node_selector={found[1]: found[2] for found in selectors},
        tolerations=[_toleration(found[1], found[2], found[3]) for found in tolerations],
    )


def check_placement(settings: TrainingSettings, folders: Iterable[Path]) -> None:
    """Raises: InvalidSettings where trainings could not run so, or would not see the folders."""
    claims = placement(settings).claims
    for folder in folders:
        claim_of(folder, claims)


def _parts(setting: str, text: str, form: re.Pattern[str], shown: str) -> Iterator[re.Match[str]]:
    """Each part of a list, taken apart. Raises: InvalidSettings."""
    for part in filter(None, map(str.strip, text.split(","))):
        found = form.fullmatch(part)
        if found is None:
            raise InvalidSettings(f"{setting}: {part} is not of the form {shown}")
        yield found


def _toleration(key: str, value: str | None, effect: str | None) -> dict[str, str]:
    how = {"operator": "Exists"} if value is None else {"operator": "Equal", "value": value}
    return {"key": key, **how, **({"effect": effect} if effect else {})}


def claim_of(folder: Path, claims: list[Claim]) -> Claim:
    """The claim that holds a folder of the trainer's. Raises: InvalidSettings where none does."""
    holding = [claim for claim in claims if folder.is_relative_to(claim.folder)]
    if not holding or ".." in folder.parts:
        raise InvalidSettings(
            f"kubernetes-claims: no claim holds {folder}, which a training must see: name the "
            "claim that the trainer has there, as CLAIM=/FOLDER"
        )
    return max(holding, key=lambda claim: len(claim.folder.parts))
