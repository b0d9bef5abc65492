"""The pure parts of the chaos runner, and that its checks fail on what is damaged."""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import orjson
import pytest

from schemas import dead_letters
from schemas.dead_letters import Origin
from schemas.placement import partition_of
from schemas.rows import encode
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_OUTCOMES, SCORED_ROWS
from streams.garbling import corrupt, garbled_pair
from streams.partition import Partition
from tests.chaos.checks import (
    Found,
    check_datasets,
    check_events,
    check_letters,
    check_rebuilt,
    check_rows,
)
from tests.chaos.ends import End, check_end, tally
from tests.chaos.expected import Expected, Stored, expect
from tests.chaos.ledger import Ledger, content_digest, counts
from tests.chaos.made_runs import SORTS, Sending, sendings
from tests.chaos.schedule import ALONE, Kind, rounds

PARTITIONS = 2
SENDS = 2500


# --- What is drawn -------------------------------------------------------------------------------


def test_schedule_is_a_function_of_the_seed() -> None:
    first, again, other = (list(islice(rounds(seed), 50)) for seed in (7, 7, 8))

    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_blow_comes_before_one_comes_again(seed: int) -> None:
    kinds = [round_.first.kind for round_ in islice(rounds(seed), 2 * len(Kind))]

    assert set(kinds[: len(Kind)]) == set(kinds[len(Kind) :]) == set(Kind)


def test_blows_that_need_a_calm_cluster_fall_alone() -> None:
    drawn = list(islice(rounds(1), 300))

    assert all(each.second is None for each in drawn if each.first.kind in ALONE)
    assert any(each.second is not None for each in drawn)


def test_a_schedule_of_some_kinds_has_them_alone_as_first_blows() -> None:
    chosen = (Kind.CUT, Kind.MUTE)

    assert {round_.first.kind for round_ in islice(rounds(1, chosen), 20)} == set(chosen)


def test_no_blow_keeps_itself_company() -> None:
    drawn = list(islice(rounds(1), 300))

    assert not any(each.second and each.second.kind is each.first.kind for each in drawn)


def test_what_agents_send_is_a_function_of_seed_and_agent() -> None:
    first, again, other_seed, other_agent = (
        list(islice(sendings(*key), 200)) for key in ((1, 1), (1, 1), (2, 1), (1, 2))
    )

    assert first == again
    assert first != other_seed
    assert first != other_agent


def test_agents_send_runs_of_every_outcome_and_dead_letters_of_every_reason(world: "World") -> None:
    outcomes = world.expected.outcomes.values()
    reasons = {row["reason"] for row in outcomes}
    agents = {row["agent_id"] for row in outcomes}

    assert {None, "void", "no_runnable_code", "never_succeeded"} <= reasons
    assert agents == {f"agent-{sort}" for sort in SORTS}
    assert {row["settled_by"] for row in outcomes} == {"finished"}
    assert world.expected.open_runs
    wanted = {"invalid_event", "run_settled", "conflicting_attempt", "conflicting_strategy"}
    assert wanted <= set(world.expected.letters.values())


# --- The ledger ----------------------------------------------------------------------------------


def test_a_send_is_unknown_until_it_is_acknowledged() -> None:
    ledger = Ledger()
    waiting, acknowledged, in_doubt, refused = (
        ledger.open(str(number), Sending(b"k", b"v")) for number in range(4)
    )
    acknowledged.place = (0, 5)
    in_doubt.error = "timed out"
    refused.refused = True

    assert waiting.state == in_doubt.state == "unknown"
    assert counts(ledger.entries) == {"unknown": 2, "acknowledged": 1, "refused": 1}


def test_digest_tells_absent_from_empty_and_key_from_value() -> None:
    contents = [(None, b""), (b"", None), (b"", b""), (None, None), (b"ab", b"c"), (b"a", b"bc")]

    assert len({content_digest(*content) for content in contents}) == len(contents)


# --- The checks ----------------------------------------------------------------------------------


@dataclass
class World:
    """A deployment that has done its work, as the checks see it."""

    ledger: Ledger
    log: list[Stored]
    expected: Expected
    rows: dict[str, list[bytes]] = field(default_factory=dict)
    letters: list[Stored] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    def found(self) -> Found:
        found = check_events(self.ledger.entries, self.log)
        for topic, rows, key in (
            (RUN_OUTCOMES, self.expected.outcomes, "run_id"),
            (SCORED_ROWS, self.expected.scored_rows, "row_id"),
            (PAIRS, self.expected.pairs, "pair_id"),
        ):
            found += check_rows(topic.name, self.rows[topic.name], rows, key=key)
        found += check_letters(self.letters, self.log, self.expected.letters)
        found += check_datasets(self.lines, self.rows[PAIRS.name])
        return found


@pytest.fixture
def world() -> World:
    """Sends of one agent, folded by the worker's own core; the expectations by the oracle."""
    ledger, log = Ledger(), list[Stored]()
    ends: Counter[int] = Counter()
    for number, sending in enumerate(islice(sendings(3, 1), SENDS)):
        partition = partition_of(sending.key or b"", PARTITIONS)
        offset = ends[partition]
        ends[partition] += 1
        entry = ledger.open(str(number), sending)
        entry.place = (partition, offset)
        log.append(Stored(partition, offset, sending.key, sending.value, str(number)))
    bad = {entry.send_id for entry in ledger.entries if entry.is_bad}
    made = World(ledger, log, expect(log, bad=bad))
    made.rows = {topic.name: [] for topic in (RUN_OUTCOMES, SCORED_ROWS, PAIRS)}
    for partition in range(PARTITIONS):
        _work(made, [record for record in log if record.partition == partition])
    made.lines = [value + b"\n" for value in made.rows[PAIRS.name]]
    return made


def _work(world: World, records: list[Stored]) -> None:
    runs = Partition(extended=False)
    effects = runs.apply(((r.key, r.value, r.offset) for r in records), now_ms=0)
    for topic, _, value in effects.rows:
        if topic is not GARBLE_REQUESTS:
            world.rows[topic.name].append(value)
    for settlement in effects.settlements:
        for request in settlement.garble_requests:
            world.rows[PAIRS.name].append(encode(garbled_pair(request, corrupt)))
    for index, error in effects.refused:
        record = records[index]
        origin = Origin("events", record.partition, record.offset)
        headers = dead_letters.headers(origin, reason=error.reason, detail="", service="worker")
        world.letters.append(Stored(0, 0, record.key, record.value, headers=tuple(headers)))


def test_checks_pass_what_is_whole(world: World) -> None:
    found = world.found()

    assert found.wrong == []
    assert (found.lost, found.twice, found.repeats) == (0, 0, 0)


def test_rows_and_letters_that_came_again_are_counted_and_no_fault(world: World) -> None:
    for rows in world.rows.values():
        rows.append(bytes(bytearray(rows[0])))
    world.letters.append(world.letters[0])

    found = world.found()

    assert found.wrong == []
    assert found.repeats == len(world.rows) + 1


def test_a_send_that_stands_twice_is_counted_and_no_fault(world: World) -> None:
    world.log.append(replace(world.log[5], offset=10_000))

    found = check_events(world.ledger.entries, world.log)

    assert found.wrong == []
    assert found.repeats == 1


def test_a_send_without_an_answer_may_be_missing_or_there(world: World) -> None:
    for entry in world.ledger.entries[:2]:
        entry.place = None
    del world.log[0]

    assert check_events(world.ledger.entries, world.log).wrong == []


def test_an_acknowledgement_without_an_offset_is_held_against_the_partition(world: World) -> None:
    [entry, *_] = world.ledger.entries
    assert entry.place is not None
    entry.place = (entry.place[0], -1)
    assert check_events(world.ledger.entries, world.log).wrong == []

    entry.place = (1 - entry.place[0], -1)
    assert check_events(world.ledger.entries, world.log).wrong


def lose_event(world: World) -> None:
    del world.log[5]


def move_event(world: World) -> None:
    world.log[5] = replace(world.log[5], offset=10_000)


def change_event(world: World) -> None:
    world.log[5] = replace(world.log[5], value=b"{}")


def invent_event(world: World) -> None:
    world.log.append(replace(world.log[5], offset=10_000, send_id="nobody's"))


def store_a_refused_send(world: World) -> None:
    entry = world.ledger.entries[5]
    entry.place, entry.refused = None, True


def lose_row(world: World, topic: str) -> None:
    world.rows[topic].pop()


def lose_outcome(world: World) -> None:
    lose_row(world, RUN_OUTCOMES.name)


def lose_scored_row(world: World) -> None:
    lose_row(world, SCORED_ROWS.name)


def lose_pair_everywhere(world: World) -> None:
    lose_row(world, PAIRS.name)
    world.lines.pop()


def change_row(world: World) -> None:
    world.rows[SCORED_ROWS.name][0] = _changed(world.rows[SCORED_ROWS.name][0], "score", 77)


def change_row_that_came_again(world: World) -> None:
    rows = world.rows[SCORED_ROWS.name]
    rows.append(_changed(rows[0], "score", 77))


def invent_outcome(world: World) -> None:
    rows = world.rows[RUN_OUTCOMES.name]
    rows.append(_changed(rows[0], "run_id", "nobody's"))


def garble_nothing(world: World) -> None:
    """The rejected side of a first-time pair is the chosen one."""
    for rows, end in ((world.rows[PAIRS.name], b""), (world.lines, b"\n")):
        place = next(n for n, row in enumerate(rows) if orjson.loads(row)["garbler"])
        rows[place] = _changed(rows[place], "rejected", orjson.loads(rows[place])["chosen"]) + end


def lose_letter(world: World) -> None:
    world.letters.pop()


def invent_letter(world: World) -> None:
    good = next(record for record in world.log if record.place not in world.expected.letters)
    origin = Origin("events", *good.place)
    headers = dead_letters.headers(origin, reason="invalid_event", detail="", service="worker")
    world.letters.append(Stored(0, 0, good.key, good.value, headers=tuple(headers)))


def change_letter(world: World) -> None:
    world.letters[0] = replace(world.letters[0], value=b"other")


def mistake_reason(world: World) -> None:
    place = next(place for place, why in world.expected.letters.items() if why == "invalid_event")
    world.expected.letters[place] = "run_settled"


def lose_line(world: World) -> None:
    world.lines.pop()


def repeat_line(world: World) -> None:
    world.lines.append(world.lines[0])


def repeat_pair_in_other_words(world: World) -> None:
    world.lines.append(_changed(world.lines[0], "garbler", "another") + b"\n")


def _changed(row: bytes, name: str, value: Any) -> bytes:
    return orjson.dumps({**orjson.loads(row), name: value})


DAMAGES: tuple[Callable[[World], None], ...] = (
    lose_event,
    move_event,
    change_event,
    invent_event,
    store_a_refused_send,
    lose_outcome,
    lose_scored_row,
    lose_pair_everywhere,
    change_row,
    change_row_that_came_again,
    invent_outcome,
    garble_nothing,
    lose_letter,
    invent_letter,
    change_letter,
    mistake_reason,
    lose_line,
    repeat_line,
    repeat_pair_in_other_words,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: str(each.__name__))
def test_checks_fail_on_damage(world: World, damage: Callable[[World], None]) -> None:
    damage(world)

    assert world.found().wrong


def test_lost_and_twice_are_counted(world: World) -> None:
    lose_event(world)
    lose_outcome(world)
    lose_letter(world)
    repeat_line(world)

    found = world.found()

    assert (found.lost, found.twice) == (3, 1)


def test_a_replay_that_differs_by_a_byte_is_wrong() -> None:
    assert check_rebuilt("pairs", [b"b\n", b"a\n"], [b"a\n", b"b\n"]).wrong == []
    assert check_rebuilt("pairs", [b"b\n", b"A\n"], [b"a\n", b"b\n"]).wrong
    assert check_rebuilt("pairs", [b"a\n", b"a\n"], [b"a\n"]).wrong


# --- Ends ----------------------------------------------------------------------------------------

TERM, KILL, STOP = signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP
STOOD_STILL = "pairstream: the worker ended: stood still for 7.1 s, long enough\n"


@pytest.mark.parametrize(
    ("code", "asked", "log"),
    [
        (0, [TERM], ""),
        (-15, [TERM], ""),
        (143, [TERM], ""),
        (-9, [KILL], ""),
        (-9, [TERM, KILL], ""),
        (1, [STOP, signal.SIGCONT], STOOD_STILL),
        (1, [TERM], STOOD_STILL),
    ],
)
def test_ends_that_were_asked_for_or_explained_are_right(
    code: int, asked: list[signal.Signals], log: str
) -> None:
    assert check_end(End("worker", code, asked, log)) is None


@pytest.mark.parametrize(
    ("code", "asked", "log"),
    [
        (0, [], ""),
        (1, [], ""),
        (2, [], STOOD_STILL),
        (-11, [], STOOD_STILL),
        (-11, [TERM], ""),
        (-9, [], STOOD_STILL),
        (1, [], "Traceback (most recent call last):\n" + STOOD_STILL),
        (1, [], "pairstream: the worker ended: a defect in pairstream, please report it: x\n"),
    ],
)
def test_other_ends_are_wrong(code: int, asked: list[signal.Signals], log: str) -> None:
    assert check_end(End("worker", code, asked, log))


def test_ends_are_told_apart_by_words_and_not_by_figures() -> None:
    ends = [End("worker", 1, [], STOOD_STILL.replace("7.1", figure)) for figure in ("7.1", "9")]

    assert list(tally(ends).values()) == [2]
