"""What a check found, and how it is shown. Pure."""

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from pairstream.terminal import printable, styled

State = Literal["ok", "note", "wrong"]

_COLOURS: dict[State, str] = {"ok": "green", "note": "yellow", "wrong": "red"}


class Finding(Struct, frozen=True):
    """`note`: it works, and could be better; `wrong`: something does not work, or soon will not."""

    check: str
    state: State
    found: str
    remedy: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def note(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "note", found, remedy)


def wrong(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "wrong", found, remedy)


def from_error(check: str, error: Exception) -> Finding:
    """Errors of ours say what is wrong and, behind a colon or a semicolon, what to do."""
    return Finding(check, "wrong", str(error))


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        state = styled(f"{finding.state:<6}", _COLOURS[finding.state])
        yield f"{state} {finding.check:<12} {printable(finding.found)}"
        if finding.remedy:
            yield f"{'':<19} -> {printable(finding.remedy)}"
