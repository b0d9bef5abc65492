"""The formats `otlp` and `openinference`: trace exports; a trace may fill several. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pairstream.formats.conventions import CONVENTIONS, GENAI, OPENINFERENCE, Convention
from pairstream.formats.exports import exports_of, read_export
from pairstream.formats.record import Choices, Recorded, Source, Unmapped, Unreadable
from pairstream.formats.spans import Note, Span
from pairstream.formats.traces import Trace, convention_of


def read_genai(sources: Sequence[Source], choices: Choices) -> Iterator[Recorded | Unmapped]:
    yield from _read(sources, choices, GENAI)


def read_openinference(
    sources: Sequence[Source], choices: Choices
) -> Iterator[Recorded | Unmapped]:
    yield from _read(sources, choices, OPENINFERENCE)


def _read(
    sources: Sequence[Source], choices: Choices, wanted: Convention
) -> Iterator[Recorded | Unmapped]:
    spans: list[Span] = []
    notes: list[Note] = []
    for source in sources:
        for place, content in exports_of(source):
            try:
                for item in read_export(content, place):
                    if isinstance(item, Span):
                        spans.append(item)
                    else:
                        notes.append(item)
            except Unreadable as error:
                yield Unmapped(place, str(error))
    for trace, said in by_trace(spans, notes):
        yield read_trace(trace, said, choices, wanted)


def by_trace(
    spans: Iterable[Span], notes: Iterable[Note]
) -> Iterator[tuple[list[Span], list[Note]]]:
    """Traces in the order in which they are first met."""
    grouped: dict[str, list[Span]] = {}
    for span in spans:
        grouped.setdefault(span.trace_id, []).append(span)
    said: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        said[note.trace_id].append(note)
    for trace_id, group in grouped.items():
        yield group, said[trace_id]


def read_trace(
    spans: list[Span], notes: Iterable[Note], choices: Choices, wanted: Convention | None = None
) -> Recorded | Unmapped:
    """The run of one trace, by the convention that it follows, or that it must follow."""
    found = convention_of(spans)
    if found is None or wanted not in (None, found):
        return Unmapped(spans[0].place, _not_followed(found, wanted))
    try:
        return Trace(spans, notes, found).recorded(choices)
    except Unreadable as error:
        return Unmapped(spans[0].place, str(error))


def _not_followed(found: Convention | None, wanted: Convention | None) -> str:
    if found is not None:
        return f"its trace follows {found.name}: use --format {_FORMATS[found.name]}"
    known = [wanted] if wanted else CONVENTIONS
    return f"its trace does not follow {' or '.join(each.name for each in known)}"


_FORMATS = {GENAI.name: "otlp", OPENINFERENCE.name: "openinference"}
