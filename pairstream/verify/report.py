"""What `verify` says: for each invariant whether it holds, and what breaks it."""

from typing import Literal

from msgspec import Struct

State = Literal["holds", "broken", "not_checked", "information"]

FINDINGS_KEPT = 100


class Finding(Struct, frozen=True):
    """One thing that breaks an invariant; `at` is topic/partition/offset or a file."""

    what: str
    id: str | None = None
    at: str | None = None


class CheckFacts(Struct, frozen=True):
    """One check as it came out; `checked` counts what `unit` names, `found` counts all findings,
    of which `findings` holds the first.
    """

    check: str
    invariant: str
    name: str
    state: State
    checked: int
    unit: str
    note: str | None
    found: int
    findings: list[Finding]


class Report(Struct, frozen=True, kw_only=True):
    """Everything that `verify --json` shows; `events` counts records by what became of them."""

    holds: bool
    events: dict[str, int]
    checks: list[CheckFacts]


class Check:
    """One check while it is made: it holds until something is found."""

    def __init__(self, key: str, invariant: str, name: str, unit: str) -> None:
        self.key = key
        self.checked = 0
        self._invariant = invariant
        self._name = name
        self._unit = unit
        self._found = 0
        self._findings: list[Finding] = []
        self._notes: list[str] = []
        self._not_checked = False
        self._information = False

    def found(self, what: str, *, id: str | None = None, at: str | None = None) -> None:
        """Something breaks the invariant."""
        self._found += 1
        if len(self._findings) < FINDINGS_KEPT:
            self._findings.append(Finding(what, id, at))

    def note(self, text: str) -> None:
        """Something that a reader of the result must know."""
        if text not in self._notes:
            self._notes.append(text)

    def cannot(self, reason: str) -> None:
        """It cannot be known whether the invariant holds."""
        self._not_checked = True
        self.note(reason)

    def tell(self, text: str) -> None:
        """It is no more than information."""
        self._information = True
        self.note(text)

    @property
    def facts(self) -> CheckFacts:
        return CheckFacts(
            check=self.key,
            invariant=self._invariant,
            name=self._name,
            state=self._state(),
            checked=self.checked,
            unit=self._unit,
            note="; ".join(self._notes) or None,
            found=self._found,
            findings=self._findings,
        )

    def _state(self) -> State:
        if self._found:
            return "broken"
        if self._not_checked:
            return "not_checked"
        return "information" if self._information else "holds"


class Checks:
    """All checks, in the order in which they are shown."""

    def __init__(self) -> None:
        self.all: list[Check] = []
        add = self._add
        self.acknowledged = add("acknowledged", "I1", "acknowledged events are in the log, once")
        self.outcomes = add("outcomes", "I2", "each settled run has its one outcome", "outcomes")
        self.scored_rows = add("scored_rows", "I2", "scored rows are what the events give", "rows")
        self.requests = add("garble_requests", "I2", "garble requests are what the events give")
        self.pairs = add("pairs", "I2", "pairs are what the events give", "pairs")
        self.once = add("once", "I3", "each pair stands in one segment and dataset", "pairs")
        self.coverage = add("coverage", "I4", "segments cover the topic without gap", "segments")
        self.positions = add("positions", "I5", "positions and datasets go on, never back")
        self.files = add("files", "I6", "files are what names and manifests say", "files")
        self.dead_letters = add("dead_letters", "I7", "each bad record is a dead letter, whole")
        self.state = add("state", "I8", "the worker's state holds the open runs", "events")
        self.order = add("order", "I9", "runs come out in the order of their ends", "outcomes")
        self.trainings = add("trainings", "I10", "each dataset is trained once, as it is")
        self.rebuild = add("rebuild", "I11", "a rebuild would give the same bytes", "lines")
        self.progress = add("progress", "I12", "worker and trainer keep up")

    def _add(self, key: str, invariant: str, name: str, unit: str = "records") -> Check:
        check = Check(key, invariant, name, unit)
        self.all.append(check)
        return check
