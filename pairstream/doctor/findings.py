"""What a check found, and how it is shown. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from pairstream.terminal import printable, styled
from schemas.errors import PairstreamError

State = Literal["ok", "note", "wrong"]

# Of errors that name no remedy.
MEND = "mend what it names, or let the user whom the service runs as reach it"

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


def from_error(check: str, error: PairstreamError, marks: Sequence[str] = ("; ", ": ")) -> Finding:
    """Errors of ours say what is wrong and, behind one of the marks, what to do.

    Args:
        marks: the first one that is in the text parts it.
    """
    for mark in marks:
        found, is_there, remedy = str(error).partition(mark)
        if is_there:
            return wrong(check, found, remedy)
    return wrong(check, str(error), MEND)


def guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What it finds; where it fails there is a finding too, and no other check is held up."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - whatever a host holds, the report is whole
        what = error.strerror if isinstance(error, OSError) and error.filename else error
        where = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        yield wrong(check, f"this check failed: {type(error).__name__}: {what}{where}", MEND)


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        state = styled(f"{finding.state:<6}", _COLOURS[finding.state])
        yield f"{state} {finding.check:<12} {printable(finding.found)}"
        if finding.remedy:
            yield f"{'':<19} -> {printable(finding.remedy)}"
