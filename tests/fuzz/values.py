"""Hypothesis strategies for values that agents may send by mistake or by malice, class by class.

All but the raw ones begin as a golden example of an event and are told apart by the run `RUN_ID`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Any

from hypothesis import strategies as st

from schemas.topics import RUN_EVENTS
from tests.fuzz.texts import CONTROLS, HOSTILE, INVALID_UTF8, NUMBERS, SURROGATES, TIMES
from tests.schemas.examples import FILES, content

Json = dict[str, Any]
Path = tuple[str | int, ...]

RUN_ID = "r-1"


def origin(event: Json) -> str:
    """Which golden example a value began as."""
    return f"golden {event['type']} {event.get('attempt')}"


def _golden(file: FilePath) -> Json:
    """The example under its origin, in a field that is unknown to the contract."""
    event = content(file)
    return {**event, "run_id": RUN_ID, "more": origin(event)}


GOLDEN = [json.dumps(_golden(file)) for file in FILES if file.parent.name == RUN_EVENTS.name]
EXAMPLES = st.sampled_from(GOLDEN).map(json.loads)

MARK = "\ufffcmark\ufffc"
MARK_JSON = json.dumps(MARK)

# Whether a reader can follow 300 levels is beyond doubt, and so it is for 3,000.
DEPTHS = st.integers(1, 300) | st.integers(3_000, 20_000) | st.just(100_000)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | HOSTILE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(value: object, here: Path = ()) -> Iterator[Path]:
    """Where something stands in an event: every field, every item, every text."""
    if here:
        yield here
    inner: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in inner:
        yield from paths(part, (*here, name))


def at(event: Json, path: Path) -> Any:
    found: Any = event
    for step in path:
        found = found[step]
    return found


def replaced(event: Json, path: Path, part: object) -> Json:
    """A copy with another part there."""
    copy: Json = json.loads(json.dumps(event))
    at(copy, path[:-1])[path[-1]] = part
    return copy


def spelt(event: Json, path: Path, text: str) -> str:
    """The event's JSON with this text, which need not be JSON, for the part that stands there."""
    return json.dumps(replaced(event, path, MARK)).replace(MARK_JSON, text)


def places(*kinds: type) -> st.SearchStrategy[tuple[Json, Path]]:
    """A golden example and where in it something of one of these kinds stands."""
    fitting = [
        (text, path)
        for text in GOLDEN
        for path in paths(json.loads(text))
        if isinstance(at(json.loads(text), path), kinds)
    ]
    return st.sampled_from(fitting).map(lambda place: (json.loads(place[0]), place[1]))


ANYWHERE = places(object)


@st.composite
def written(draw: st.DrawFn, event: Json) -> bytes:
    """As libraries write it: compact or spread, texts escaped or as they are."""
    indent, escaped = draw(st.sampled_from((None, None, 1))), draw(st.booleans())
    return json.dumps(event, indent=indent, ensure_ascii=escaped).encode(errors="surrogatepass")


# --- Classes -------------------------------------------------------------------------------------

RAW = (
    st.binary(min_size=2, max_size=64)
    | st.text(min_size=2, max_size=64).map(str.encode)
    | st.dictionaries(HOSTILE, ANY_JSON, max_size=3).map(json.dumps).map(str.encode)
    | ANY_JSON.map(json.dumps).map(str.encode)
    | st.sampled_from((None, b"", b" ", b"{}", b"[]", b"null", b"\x00"))
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes gone, doubled, cut off or replaced; another encoding; a byte order mark."""
    value = bytearray(draw(EXAMPLES.flatmap(written)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = min(len(value), start + draw(st.integers(0, 6)))
        value[start:end] = draw(
            st.sampled_from((b"", b'"', b"{", b"]", b"0", b"null", b"\\", b'"x":1,', b"NaN"))
            | st.sampled_from(INVALID_UTF8)
            | st.binary(max_size=4)
            | st.just(bytes(value[start:end]) * 2)
        )
    whole = bytes(value)
    fate = draw(st.sampled_from(("as it is",) * 6 + ("cut", "mark", "utf-16", "utf-32", "doubled")))
    if fate == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if fate.startswith("utf"):
        return whole.decode(errors="replace").encode(fate)
    return {"mark": b"\xef\xbb\xbf" + whole, "doubled": whole * 2}.get(fate, whole)


@st.composite
def misshapen(draw: st.DrawFn) -> bytes:
    """Parts dropped, renamed, swapped, or of any shape at all."""
    event, path = draw(ANYWHERE)
    for _ in range(draw(st.integers(1, 2))):
        holder, name = at(event, path[:-1]), path[-1]
        match draw(st.sampled_from(("drop", "rename", "swap", "retype", "retype"))):
            case "drop":
                del holder[name]
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from((f"{name}s", str(name).upper(), "")))] = holder.pop(
                    name
                )
            case "swap":
                other = draw(EXAMPLES)
                holder[name] = at(other, draw(st.sampled_from(list(paths(other)))))
            case _:
                holder[name] = draw(ANY_JSON)
        path = draw(st.sampled_from(list(paths(event))))
    return draw(written(event))


@st.composite
def misspelt(
    draw: st.DrawFn, where: st.SearchStrategy[tuple[Json, Path]], texts: st.SearchStrategy[str]
) -> bytes:
    """One of these texts, as it is, for what stands there."""
    event, path = draw(where)
    return spelt(event, path, draw(texts)).encode()


@st.composite
def mistimed(draw: st.DrawFn) -> bytes:
    """A valid event at a time that is valid, or nearly so."""
    return draw(written({**draw(EXAMPLES), "time": draw(TIMES)}))


@st.composite
def nested(draw: st.DrawFn) -> bytes:
    """Brackets in brackets, balanced or not, alone or for a part of an event."""
    opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"))))
    depth = draw(DEPTHS) // (opening.count("[") + opening.count("{"))
    deep = opening * depth + draw(st.sampled_from(("1", "[]", ""))) + closing * depth
    if not draw(st.integers(0, 4)):
        deep = deep[: draw(st.integers(0, len(deep)))]
    if not draw(st.integers(0, 4)):
        return deep.encode()
    event, path = draw(ANYWHERE)
    return spelt(event, path, deep).encode()


@st.composite
def doubled(draw: st.DrawFn, values: st.SearchStrategy[str]) -> bytes:
    """A field that stands twice: as it was, and with another value before or after it."""
    event, path = draw(ANYWHERE.filter(lambda place: isinstance(place[1][-1], str)))
    name, was = json.dumps(path[-1]), json.dumps(at(event, path))
    both = [f"{name}: {was}", f"{name}: {draw(values | st.just(was))}"]
    first, second = draw(st.permutations(both))
    whole = spelt(event, path, MARK_JSON)
    return whole.replace(f"{name}: {MARK_JSON}", f"{first}, {second}").encode()


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A valid event with such a text in each of its free texts."""
    event = draw(EXAMPLES)
    for path in list(paths(event)):
        if path[:-1] == ("new_sp_egc_s",) or (path[-1] in FREE_TEXTS and at(event, path)):
            at(event, path[:-1])[path[-1]] = draw(HOSTILE)
    return draw(written(event))


FREE_TEXTS = frozenset(
    ("agent_id", "task_id", "policy_id", "event_id", "role", "content", "strategy", "code", "error")
)

OTHER_VALUES = ANY_JSON.map(json.dumps) | st.sampled_from(
    ['"run.finished"', '"run.paused"', '"r-1"', '"2026-11-23T10:00:00Z"', "1", "true", "null"]
)

CLASSES: dict[str, st.SearchStrategy[bytes | None]] = {
    "raw": RAW,
    "damaged": damaged(),
    "misshapen": misshapen(),
    "nested": nested(),
    "numbers": misspelt(places(float, str), NUMBERS),
    "counts": misspelt(places(int), NUMBERS | st.integers(2**53, 2**70).map(str)),
    "long numbers": misspelt(ANYWHERE, st.integers(4_301, 6_000).map(lambda n: "1" * n)),
    "times": mistimed(),
    "surrogates": misspelt(places(str), SURROGATES),
    "controls": misspelt(places(str), CONTROLS),
    "doubled": doubled(OTHER_VALUES),
    "hostile": hostile(),
}
