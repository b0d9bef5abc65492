"""The benchmarks: their arithmetic, their loads, and a guard against getting much slower."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench import Bench, Options
from benchmarks.catalogue import ROWS
from benchmarks.load import Load, interleave, tiles
from benchmarks.peers.job import rows_of
from benchmarks.replay import replay_seconds
from benchmarks.report import Goal, Measured, document, judge, medians, percentile, ratio, table
from benchmarks.rows import Rows, expected
from benchmarks.timing import bare, beside_bare
from schemas.topics import PAIRS, RUN_OUTCOMES
from tests.apache_kafka import ApacheKafka

AT_LEAST, AT_MOST = Goal("rate", "at least", 0.8), Goal("wait", "at most", 20, "ms")
WHOLE = {"options": {"scale": 1}}


# --- Report --------------------------------------------------------------------------------------


def test_median_of_a_figure_is_over_the_turns_that_have_it() -> None:
    turns = [{"rate": 3.0}, {"rate": 1.0, "wait": 5.0}, {"rate": 2.0}]

    assert medians(turns) == {"rate": 2.0, "wait": 5.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "times"), [(2.0, 4.0, 0.5), (4.0, 2.0, 2.0), (0.0, 1.0, 0.0)]
)
def test_ratio_says_how_many_times_theirs_ours_is(ours: float, theirs: float, times: float) -> None:
    assert ratio(ours, theirs) == times


def test_ratio_to_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        ratio(1.0, 0.0)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.76, 4), (0.99, 4), (1.0, 4)]
)
def test_percentile_is_a_value_that_came(share: float, value: float) -> None:
    assert percentile([3, 1, 4, 2], share) == value


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0, 1))
def test_percentile_leaves_its_share_below(values: list[float], share: float) -> None:
    found = percentile(values, share)

    assert sum(value <= found for value in values) >= share * len(values) * (1 - 1e-12)
    assert found in values


@pytest.mark.parametrize(
    ("goal", "value", "reached"),
    [
        (AT_LEAST, 0.8, True),
        (AT_LEAST, 0.79, False),
        (AT_MOST, 20.0, True),
        (AT_MOST, 20.1, False),
    ],
)
def test_goal_is_reached_on_its_side_of_the_bound(goal: Goal, value: float, reached: bool) -> None:
    [judgement] = judge([goal], Measured(turns=[{goal.figure: value}]))

    assert (judgement.median, judgement.reached) == (value, reached)


def test_figure_that_was_not_measured_is_not_judged() -> None:
    [judgement] = judge([AT_LEAST], Measured(turns=[{"other": 1.0}]))

    assert (judgement.median, judgement.reached) == (None, None)


def test_what_is_not_correct_has_reached_nothing() -> None:
    measured = Measured(turns=[{"rate": 9.0}], correctness={"same_rows": True, "verify": False})

    [judgement] = judge([AT_LEAST], measured)

    assert judgement.reached is False


def test_small_loads_are_not_judged() -> None:
    [judgement] = judge([AT_LEAST], Measured(turns=[{"rate": 9.0}]), scale=0.1)

    assert (judgement.median, judgement.reached) == (9.0, None)


def test_document_is_json_with_every_turn_and_what_is_around() -> None:
    measured = Measured(
        turns=[{"rate": 0.7}, {"rate": 0.9}, {"rate": 1.0}],
        facts={"events": 5},
        correctness={"verify_holds": True},
        notes=["slow peers get fewer events"],
    )

    written = json.loads(json.dumps(document("a", "the worker", [AT_LEAST], measured, WHOLE)))

    assert written == {
        "row": "a",
        "what": "the worker",
        "goals": [
            {
                "figure": "rate", "sense": "at least", "bound": 0.8, "unit": "",
                "median": 0.9, "reached": True,
            }
        ],
        "correct": True,
        "correctness": {"verify_holds": True},
        "medians": {"rate": 0.9},
        "turns": measured.turns,
        "facts": {"events": 5},
        "notes": ["slow peers get fewer events"],
        "options": {"scale": 1},
    }  # fmt: skip


def test_table_has_a_line_for_each_goal() -> None:
    measured = Measured(turns=[{"rate": 0.85, "wait": 1234.5}])

    lines = table([document("d", "way", [AT_LEAST, AT_MOST], measured, WHOLE)]).splitlines()

    assert [line.split() for line in lines[1:]] == [
        ["d", "way:", "rate", "at", "least", "0.8", "0.85", "yes"],
        ["d", "way:", "wait", "at", "most", "20", "ms", "1,234", "ms", "NO"],
    ]


def test_table_says_so_where_rows_differ() -> None:
    measured = Measured(turns=[{"rate": 0.85}], correctness={"same_rows": False})

    assert "NOT CORRECT" in table([document("a", "way", [AT_LEAST], measured, WHOLE)])


def test_every_row_of_the_table_is_measured_once() -> None:
    assert [row.letter for row in ROWS] == list("abcdefghijklt")
    assert all(row.goals for row in ROWS)


# --- Load ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [1, 7, 1000])
def test_same_arguments_give_the_same_load(interleaved: int) -> None:
    load = Load(500, interleaved=interleaved)

    assert list(load) == list(Load(500, interleaved=interleaved))


@pytest.mark.parametrize("interleaved", [1, 7, 1000])
def test_load_gives_the_same_rows_however_its_runs_are_interleaved(interleaved: int) -> None:
    assert expected(Load(2000, interleaved=interleaved)) == expected(Load(2000))


def test_load_holds_whole_runs_with_ids_and_code_of_their_own() -> None:
    load = Load(2000)
    runs = [[orjson.loads(value) for _, value in run] for _, run in groupby(load, lambda e: e[0])]
    codes = [event["code"] for run in runs for event in run if "code" in event]

    assert 2000 <= sum(map(len, runs)) < 2010
    assert len({run[0]["run_id"] for run in runs}) == len(runs)
    assert {run[-1]["type"] for run in runs} == {"run.finished"}
    assert len(set(codes)) == len(codes)
    assert expected(load)[RUN_OUTCOMES].count == len(runs)


def test_made_up_runs_end_in_every_way_that_recorded_ones_do() -> None:
    rows = [row for run in tiles(None, 900) for row in rows_of(value for _, value in run)]
    outcomes = [orjson.loads(value) for topic, value in rows if topic is RUN_OUTCOMES]
    garblers = [orjson.loads(value)["garbler"] for topic, value in rows if topic is PAIRS]

    assert Counter(outcome["reason"] for outcome in outcomes) == {None: 95, "never_succeeded": 5}
    assert Counter(garblers) == {None: 80 * 4, "corrupt": 15 * 2}


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 5))
def test_interleaving_keeps_the_order_of_each_run(lengths: list[int], width: int) -> None:
    runs = [[(b"%d" % n, b"%d" % place) for place in range(k)] for n, k in enumerate(lengths)]

    mixed = list(interleave(runs, width))

    assert [[event for event in mixed if event[0] == b"%d" % n] for n in range(len(runs))] == runs
    assert len(mixed) == sum(lengths)


def test_so_many_runs_are_open_at_a_time() -> None:
    runs = [[(b"%d" % n, b"%d" % place) for place in range(3)] for n in range(4)]

    keys = [key for key, _ in interleave(runs, 2)]

    assert keys == [b"0", b"1", b"0", b"1", b"0", b"1", b"2", b"3", b"2", b"3", b"2", b"3"]


def test_digest_of_rows_owes_nothing_to_order_and_repetition() -> None:
    assert Rows.of([b"a", b"b"]) == Rows.of([b"b", b"a", b"b"])
    assert Rows.of([b"a", b"b"]) != Rows.of([b"a", b"c"])


# --- A guard -------------------------------------------------------------------------------------

GUARD_EVENTS = 40_000
TRIES = 4


@pytest.fixture
def bench(apache_kafka: ApacheKafka) -> "Bench":
    return Bench(Options(apache_kafka.home), apache_kafka)


def best_of(measure: Callable[[], float], enough: float) -> float:
    """Machines are shared and noisy: one turn that is good enough shows what the code can do."""
    best = 0.0
    for _ in range(TRIES):
        best = max(best, measure())
        if best >= enough:
            break
    return best


# Half of what was reached (docs/performance.md), which is less than the goals.
LEAST_OF_BARE = {"worker": 0.22, "replay": 0.25}


@pytest.mark.kafka
def test_worker_is_not_much_slower_than_it_was(bench: Bench) -> None:
    def of_bare() -> float:
        with bench.deployment() as deployment:
            fed = deployment.fill(Load(GUARD_EVENTS))
            return beside_bare(bench, deployment, fed)["of_bare"]

    with bench:
        wanted = LEAST_OF_BARE["worker"]
        assert best_of(of_bare, wanted) >= wanted


@pytest.mark.kafka
def test_replay_is_not_much_slower_than_it_was(bench: Bench, tmp_path: Path) -> None:
    """Less its start, which would be most of so small a load."""
    with bench, bench.deployment() as deployment, bench.deployment() as empty:
        fed = deployment.fill(Load(GUARD_EVENTS))

        def of_bare() -> float:
            outs = bench.new_folder()
            seconds = bare(deployment, fed.events)["seconds"]
            start = replay_seconds(empty, "events", outs / "empty")
            return seconds / max(replay_seconds(deployment, "events", outs / "full") - start, 1e-9)

        wanted = LEAST_OF_BARE["replay"]
        assert best_of(of_bare, wanted) >= wanted
