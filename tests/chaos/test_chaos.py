"""The pure parts of the chaos runner, and that its checks fail on what is damaged."""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
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
from tests.chaos.__main__ import command_parser, plans
from tests.chaos.blows import STRIKES
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
from tests.chaos.journal import Journal, read_journal
from tests.chaos.leak import check_growth, growth
from tests.chaos.ledger import Ledger, content_digest, counts
from tests.chaos.made_runs import SORTS, Sending, sendings
from tests.chaos.plan import Plan
from tests.chaos.schedule import ALONE, Blow, Kind, rounds
from tests.chaos.state import check_state

pytestmark = pytest.mark.long

PARTITIONS = 2
SENDS = 2500


# --- What is drawn -------------------------------------------------------------------------------


def test_schedule_is_a_function_of_the_seed() -> None:
    first, again, other = (list(islice(rounds(seed), 50)) for seed in (7, 7, 8))

    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_blow_comes_first_before_one_comes_first_again(seed: int) -> None:
    kinds = [round_.blows[0].kind for round_ in islice(rounds(seed), 2 * len(Kind))]

    assert set(kinds[: len(Kind)]) == set(kinds[len(Kind) :]) == set(Kind)


def test_a_round_has_one_to_three_blows_of_different_kinds() -> None:
    drawn = list(islice(rounds(1), 300))

    assert {len(round_.blows) for round_ in drawn} == {1, 2, 3}
    assert all(len({blow.kind for blow in each.blows}) == len(each.blows) for each in drawn)


def test_blows_that_need_a_calm_cluster_fall_alone() -> None:
    drawn = list(islice(rounds(1), 300))

    assert all(len(each.blows) == 1 for each in drawn if each.blows[0].kind in ALONE)


def test_nobody_freezes_while_no_node_is_there() -> None:
    drawn = islice(rounds(1), 1000)
    dead = [each for each in drawn if each.blows[0].kind is Kind.KILL_ALL_NODES]

    assert any(len(each.blows) > 1 for each in dead)
    assert not any(blow.kind is Kind.FREEZE_WORKER for each in dead for blow in each.blows)


def test_a_schedule_of_some_kinds_has_no_others() -> None:
    chosen = (Kind.CUT, Kind.MUTE)

    drawn = [blow.kind for round_ in islice(rounds(1, chosen), 20) for blow in round_.blows]

    assert set(drawn) == set(chosen)


def test_a_schedule_of_frozen_workers_freezes_several_in_turn() -> None:
    drawn = list(islice(rounds(1, [Kind.FREEZE_WORKER]), 20))

    assert any(len(each.blows) > 1 for each in drawn)
    for round_ in drawn:
        targets = [blow.target for blow in round_.blows]
        assert targets == list(range(targets[0], targets[0] + len(targets)))


def test_every_kind_of_blow_has_its_strike() -> None:
    assert set(STRIKES) == set(Kind)


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_trial_of_some_blows_has_so_many_that_struck(seed: int) -> None:
    """The third of them strikes nothing: it is struck, and not counted."""
    fallen, struck = list[Blow](), list[Blow]()
    for round_ in Plan(1, tuple(Kind), 4, blows=10).rounds(seed, lambda: len(struck), lambda: 0):
        for blow in round_.blows:
            fallen.append(blow)
            if len(fallen) != 3:
                struck.append(blow)

    assert (len(struck), len(fallen)) == (10, 11)


def test_a_trial_of_some_minutes_has_no_round_after_them() -> None:
    clock = iter((0.0, 59.0, 61.0))

    drawn = list(Plan(1, tuple(Kind), 4, minutes=1).rounds(1, lambda: 0, lambda: next(clock)))

    assert drawn == list(islice(rounds(1), 2))


def test_the_seeds_of_ci_share_every_kind_of_blow_among_them() -> None:
    planned = list(plans(command_parser().parse_args(["--ci"])))

    drawn = [
        round_.blows[0].kind
        for seed, plan in planned
        for round_ in plan.rounds(seed, lambda: 0, lambda: 0)
    ]
    assert len(planned) == 3
    assert sorted(drawn) == sorted(Kind)


def test_a_leak_test_strikes_no_trainer_and_keeps_one_worker_whole() -> None:
    [(seed, plan)] = plans(command_parser().parse_args(["--leak"]))
    drawn = islice(plan.rounds(seed, lambda: 0, lambda: 0), 300)

    kinds = {blow.kind for round_ in drawn for blow in round_.blows}
    of_trainers = {kind for kind in Kind if kind.endswith("trainer")}
    of_all_workers = {Kind.DELETE_GROUP, Kind.RETIRE_WORKER, Kind.FREEZE_WORKER}
    assert not kinds & (of_trainers | of_all_workers)
    assert plan.is_leak_test


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


def test_a_journal_tells_of_sends_what_its_agent_knew(tmp_path: Path) -> None:
    path, sending = tmp_path / "journal", Sending(b"k", b"v")
    first = Journal(path)
    for send_id in ("1-1", "1-2", "1-3"):
        first.open(send_id, sending)
    first.acknowledge({"1-1": 2})
    first.refuse("1-2", "its queue is full")
    Journal(path).open("2-1", sending)

    entries = {entry.send_id: entry for entry in read_journal(path)}

    assert entries["1-1"].place == (2, -1)
    states = {send_id: entry.state for send_id, entry in entries.items()}
    assert states == {
        "1-1": "acknowledged",
        "1-2": "refused",
        "1-3": "unknown",
        "2-1": "unknown",
    }
    assert {entry.digest for entry in entries.values()} == {content_digest(b"k", b"v")}


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
    state: list[Stored] = field(default_factory=list)

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
        found += check_state(self.state, self.log, self.expected, forgets=False)
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
    number = records[0].partition
    world.state += [Stored(number, 0, key, value) for key, value in effects.writes.items()]
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


def contradict_state(world: World) -> None:
    """As a zombie would that knew less than its successor; who reads it later sees neither."""
    place = next(n for n, record in enumerate(world.state) if record.value is not None)
    world.state.insert(place, replace(world.state[place], value=b"other"))


def lose_marker(world: World) -> None:
    world.state.remove(_marker(world))


def reopen_settled_run(world: World) -> None:
    """Its marker is gone and one of its events stands there."""
    marker = _marker(world)
    run_id = (marker.key or b"").partition(b"\x00")[0]
    event = next(record for record in world.log if record.key == run_id)
    key = run_id + b"\x00%d" % event.offset
    world.state.append(replace(marker, value=None))
    world.state.append(Stored(event.partition, 0, key, event.value))


def settle_open_run(world: World) -> None:
    run_id = min(world.expected.open_runs).encode()
    world.state.append(replace(_marker(world), key=run_id + b"\x00settled"))


def lose_event_of_state(world: World) -> None:
    run_id = min(world.expected.open_runs).encode()
    world.state = [
        each for each in world.state if (each.key or b"").partition(b"\x00")[0] != run_id
    ]


def misplace_event_of_state(world: World) -> None:
    run_id = min(world.expected.open_runs).encode()
    [event, *_] = (each for each in world.state if (each.key or b"").startswith(run_id + b"\x00"))
    world.state.append(replace(event, key=run_id + b"\x0099999"))


def _marker(world: World) -> Stored:
    return next(each for each in world.state if (each.key or b"").endswith(b"\x00settled"))


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
    contradict_state,
    lose_marker,
    reopen_settled_run,
    settle_open_run,
    lose_event_of_state,
    misplace_event_of_state,
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


def test_state_may_have_forgotten_only_where_it_was_told_to(world: World) -> None:
    lose_marker(world)

    assert check_state(world.state, world.log, world.expected, forgets=True).wrong == []
    assert check_state(world.state, world.log, world.expected, forgets=False).wrong


# --- Memory --------------------------------------------------------------------------------------


def steady(after: int, *, until: int = 1800) -> list[tuple[float, int]]:
    """Resident bytes each second: it fills for a minute, and has `after` in the last fifth."""
    return [
        (second, 40 if second < 60 else (100 if second < until * 0.8 else after))
        for second in range(until + 1)
    ]


@pytest.mark.parametrize(("after", "expected"), [(100, 0.0), (109, 0.09), (150, 0.5), (80, -0.2)])
def test_growth_is_told_from_when_the_memory_had_settled(after: int, expected: float) -> None:
    assert growth(steady(after)) == pytest.approx(expected)


def test_a_single_peak_is_no_growth() -> None:
    samples = steady(100)
    samples[-5] = (samples[-5][0], 900)

    assert growth(samples) == 0


@pytest.mark.parametrize(
    ("memory", "wrong"),
    [
        ({"trainer.1": steady(109)}, 0),
        ({"trainer.1": steady(111)}, 1),
        ({"trainer.1": steady(100), "trainer.2": steady(100)}, 1),
        ({"trainer.1": steady(100), "worker-1.1": steady(300)}, 0),
        ({}, 1),
    ],
)
def test_who_is_observed_must_live_through_and_not_grow(
    memory: dict[str, list[tuple[float, int]]], wrong: int
) -> None:
    assert len(check_growth(memory, {}, observed=["trainer"]).wrong) == wrong


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
