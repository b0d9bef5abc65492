"""Takes secrets and personal data out of texts, before rows are made of them.

The patterns are a pure function of the text. A program of the operator's, where one is set, must be
one too: replay and `verify` ask it again.
"""

import functools
import shlex
from collections import Counter
from collections.abc import Sequence

from schemas.errors import InvalidSettings
from schemas.settings import PairingSettings
from streams.redaction_patterns import COMPILED, PATTERNS, Pattern
from streams.redaction_program import Beat, RedactionProgram, no_beat

PROGRAM = "by_program"


class Redactor:
    """Redacts the texts of one run at a time.

    Attributes:
        counts: of what was taken out, by kind; of texts that the program changed.
    """

    def __init__(self, patterns: Sequence[Pattern], program: RedactionProgram | None) -> None:
        self._patterns = patterns
        self._program = program
        self.counts: Counter[str] = Counter()

    def warm_up(self) -> None:
        """For a worker. Raises: InvalidSettings."""
        if self._program is not None:
            self._program.warm_up()

    def __call__(self, texts: list[str], *, beat: Beat = no_beat) -> list[str]:
        """As many texts, in this order. Raises: NotRedacted, when the program fails."""
        redacted = []
        for text in texts:
            redacted.append(redact(text, self._patterns, self.counts))
            beat()
        if self._program is None:
            return redacted
        answers = self._program.ask(redacted, beat)
        self.counts[PROGRAM] += sum(map(str.__ne__, redacted, answers))
        return answers


def redact(text: str, patterns: Sequence[Pattern], counts: Counter[str]) -> str:
    """The text with `[REDACTED:kind]` for what the patterns find; `counts` are added to.

    Guarantee: time linear in the text; to redact again changes nothing.
    """
    for pattern in patterns:
        if any(hint in text for hint in pattern.hints):
            text = _redact(text, pattern, counts)
    return text


def _redact(text: str, pattern: Pattern, counts: Counter[str]) -> str:
    expression = COMPILED[pattern.expression]
    group = "secret" if "secret" in expression.groupindex else 0
    kept: list[str] = []
    done = at = 0
    while match := expression.search(text, at):
        start, end = match.span(group)
        length = pattern.length_of(text[start:end])
        if not length:
            at = match.start() + 1  # another may begin in what is none
            continue
        counts[pattern.kind] += 1
        kept += text[done:start], f"[REDACTED:{pattern.kind}]"
        done = at = start + length
    return "".join((*kept, text[done:]))


def countable(settings: PairingSettings) -> list[str]:
    """What may be counted under these settings, each once: kinds, and what the program changed."""
    groups = settings.redact.split(",")
    kinds = [pattern.kind for pattern in PATTERNS if pattern.group in groups]
    return list(dict.fromkeys([*kinds, *([PROGRAM] if settings.redact_command else [])]))


def open_redactor(settings: PairingSettings) -> Redactor | None:
    """None where nothing is to be redacted; a process has one for equal settings.

    Raises: InvalidSettings when there is no such program.
    """
    return _redactor(settings.redact, settings.redact_command)


@functools.cache
def _redactor(groups: str, command: str) -> Redactor | None:
    wanted = tuple(pattern for pattern in PATTERNS if pattern.group in groups.split(","))
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidSettings(f"PAIRSTREAM_REDACT_COMMAND: {error}") from error
    program = RedactionProgram(words) if words else None
    return Redactor(wanted, program) if wanted or program else None
