"""SWE-bench's reports: which patches applied, and which resolved their task. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from pairstream.formats.json_documents import typed
from pairstream.formats.record import Unreadable


class Verdict(NamedTuple):
    applied: bool
    resolved: bool


class Patch(NamedTuple):
    """What a trajectory handed in, and the folder that it lies in."""

    folder: PurePath
    instance: str
    text: str


class Reports:
    """All that are among the files; each judged one patch of an instance and does not say which.

    So the nearest at or above the patch's folder counts, and one that lies elsewhere only where
    the files hold no other patch of its instance.
    """

    def __init__(self) -> None:
        self._found: list[tuple[PurePath, dict[str, Verdict]]] = []
        self._patches: defaultdict[tuple[str, PurePath | None], set[str]] = defaultdict(set)

    def add(self, folder: PurePath, verdicts: dict[str, Verdict]) -> None:
        self._found.append((folder, verdicts))

    def expect(self, patch: Patch) -> None:
        """All patches are told, after all reports, before the first is judged."""
        for place in {self._nearest(patch), None}:
            self._patches[patch.instance, place].add(patch.text)

    def verdict(self, patch: Patch) -> Verdict | None:
        """None where nobody judged it. Raises: Unreadable where it cannot be told which is its."""
        place = self._nearest(patch)
        verdicts = {
            verdicts[patch.instance]
            for folder, verdicts in self._found
            if patch.instance in verdicts and place in (folder, None)
        }
        if len(verdicts) > 1:
            raise Unreadable("two reports judge it differently; ingest each run by itself")
        if verdicts and len(self._patches[patch.instance, place]) > 1:
            raise Unreadable(
                "its report may be of another patch of its instance; "
                "ingest each run with its report by itself"
            )
        return next(iter(verdicts), None)

    def _nearest(self, patch: Patch) -> PurePath | None:
        """None: whatever judges it lies elsewhere."""
        folders = {folder for folder, verdicts in self._found if patch.instance in verdicts}
        return next(
            (each for each in (patch.folder, *patch.folder.parents) if each in folders), None
        )


def verdicts_in(document: Mapping[str, Any]) -> dict[str, Verdict] | None:
    """By instance; None for what is no report.

    A report of one run lists ids (what it could not judge is in neither list); a report of one
    instance has it as its only name. Raises: Unreadable where ids are no texts.
    """
    if "resolved_ids" in document:
        resolved = typed(document["resolved_ids"], list[str])
        unresolved = typed(document.get("unresolved_ids") or [], list[str])
        return {
            **dict.fromkeys(unresolved, Verdict(applied=True, resolved=False)),
            **dict.fromkeys(resolved, Verdict(applied=True, resolved=True)),
        }
    reports = list(document.values())
    if reports and all(isinstance(each, dict) and "resolved" in each for each in reports):
        return {instance: _verdict(each) for instance, each in document.items()}
    return None


def _verdict(report: Mapping[str, Any]) -> Verdict:
    applied = report.get("patch_successfully_applied", True) is True
    return Verdict(applied, resolved=applied and report["resolved"] is True)
