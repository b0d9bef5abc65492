"""SWE-bench's reports: which patches applied, and which resolved their task. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairstream.formats.json_documents import typed


class Verdict(NamedTuple):
    applied: bool
    resolved: bool


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
