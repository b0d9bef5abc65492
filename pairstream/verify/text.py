"""A report as text for people: a line for each check, and below it what breaks it."""

from collections.abc import Iterator, Mapping

from pairstream.terminal import counted, printable
from pairstream.verify.report import CheckFacts, Finding, Report

FINDINGS_SHOWN = 10
STATES = {
    "holds": "holds",
    "broken": "BROKEN",
    "not_checked": "not checked",
    "information": "-",
}


def report_lines(report: Report) -> Iterator[str]:
    yield _events(report.events)
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        yield from _check_lines(check, width)


def _events(events: Mapping[str, int]) -> str:
    """Of the records read, how many went where."""
    settled, opened = events.get("settled_runs", 0), events.get("open_runs", 0)
    parts = [f"{counted(settled, 'run')} settled", f"{opened} open"]
    named = {
        "taken_in": "taken in",
        "settles": "ends of runs",
        "duplicate": "duplicates",
        "unknown_type": "of unknown types",
        "overtaken": "expiries overtaken",
        "invalid_event": "invalid",
        "conflicting_start": "conflicting starts",
        "conflicting_strategy": "conflicting strategies",
        "conflicting_attempt": "conflicting attempts",
        "conflicting_score": "conflicting scores",
        "run_settled": "too late",
    }
    parts += [f"{events[key]} {words}" for key, words in named.items() if events.get(key)]
    return f"events read: {sum(events.get(key, 0) for key in named)} ({', '.join(parts)})"


def _check_lines(check: CheckFacts, width: int) -> Iterator[str]:
    counts = f"{check.checked} {check.unit}" if check.checked else ""
    state = STATES[check.state]
    line = f"{check.invariant:<4} {check.name:<{width}}  {state:<11}  {counts}"
    yield line.rstrip()
    if check.note:
        yield f"       {printable(check.note)}"
    for finding in check.findings[:FINDINGS_SHOWN]:
        yield f"     ! {_finding(finding)}"
    if check.found > FINDINGS_SHOWN:
        yield f"     ! and {check.found - FINDINGS_SHOWN} more (--json shows up to 100)"


def _finding(finding: Finding) -> str:
    parts = [finding.what]
    if finding.id is not None:
        parts.append(finding.id)
    if finding.at is not None:
        parts.append(f"at {finding.at}")
    return printable(" · ".join(parts))
