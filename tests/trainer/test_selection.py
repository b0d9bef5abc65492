"""Which pairs a dataset takes: shares that hold, reasons that are true, whatever came when."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.settings import DatasetSettings
from trainer.selection import (
    WAITS,
    Candidate,
    CutSettings,
    held_out_key,
    largest_group,
    policy_number,
    select,
)

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)

ALL = CutSettings(eval_fraction=0.1)

SHARES = st.sampled_from([0.05, 0.1, 0.25, 0.29, 0.3, 0.5, 0.75, 0.9, 1.0])


def made(number: int, **facts: Any) -> Candidate:
    usual = {"content": str(number).encode(), "is_garbled": False, "score_gap": 1.0, "policy": None,
             "agent_id": None, "task_id": None, "sketch": None}  # fmt: skip
    return Candidate(pair_id=f"{number:032x}", **{**usual, **facts})


def many(count: int, **facts: Any) -> list[Candidate]:
    return [made(number, **facts) for number in range(count)]


def reasons(candidates: list[Candidate], **given: Any) -> Counter[str]:
    return Counter(select(candidates, replace(ALL, **given)).values())


@st.composite
def mixed(draw: st.DrawFn) -> list[Candidate]:
    facts = st.tuples(st.booleans(), st.sampled_from([None, "a", "b", "c"]),
                      st.sampled_from([None, "t", "u", "v", "w"]))  # fmt: skip
    return [
        made(number, is_garbled=garbled, agent_id=agent, task_id=task)
        for number, (garbled, agent, task) in enumerate(draw(st.lists(facts, max_size=60)))
    ]


def test_by_default_every_pair_is_taken() -> None:
    doubled = [*many(5, content=b"same", score_gap=0.0, is_garbled=True, agent_id="a")]

    assert select(doubled, ALL) == {}
    assert ALL.takes_all
    assert CutSettings.of(DatasetSettings()).takes_all
    assert CutSettings.of(DatasetSettings(held_out_by="task", eval_fraction=0.5)).takes_all


@pytest.mark.parametrize(
    "given",
    [
        {"duplicates": "exact"}, {"duplicates": "near"}, {"min_score_gap": 0.1},
        {"max_policy_age": 0},
        {"max_garbled_share": 0.9}, {"max_agent_share": 0.9}, {"max_task_share": 0.9},
    ],
)  # fmt: skip
def test_with_any_filter_candidates_are_looked_at(given: dict[str, Any]) -> None:
    assert not CutSettings.of(DatasetSettings(**given)).takes_all


def test_every_setting_of_a_cut_is_a_setting_of_the_trainer() -> None:
    assert set(CutSettings.__struct_fields__) <= set(DatasetSettings.__struct_fields__)
    values = {name: getattr(DatasetSettings(), name) for name in CutSettings.__struct_fields__}

    assert CutSettings(**values) == replace(ALL, eval_fraction=values["eval_fraction"])


# --- For good ------------------------------------------------------------------------------------


def test_of_pairs_with_the_same_texts_the_first_by_id_is_taken() -> None:
    candidates = [made(n, content=b"same" if n in (2, 5, 7) else b"%d" % n) for n in range(9)]

    found = select(candidates, replace(ALL, duplicates="exact"))

    assert found == {candidates[5].pair_id: "duplicate", candidates[7].pair_id: "duplicate"}


@pytest.mark.parametrize(
    ("gap", "least", "is_taken"),
    [(1.0, 1.0, True), (0.9, 1.0, False), (None, 1.0, True), (0.0, 0.0, True), (-1.0, 0.0, False)],
)
def test_a_gap_is_judged_where_both_sides_have_a_score(
    gap: float | None, least: float, is_taken: bool
) -> None:
    assert (reasons([made(0, score_gap=gap)], min_score_gap=least) == {}) is is_taken


def test_a_pair_that_is_left_out_for_its_gap_hides_no_duplicate_of_it() -> None:
    candidates = [made(0, content=b"same", score_gap=0.1), made(1, content=b"same", score_gap=5)]

    found = select(candidates, replace(ALL, duplicates="exact", min_score_gap=1.0))

    assert found == {candidates[0].pair_id: "score_gap"}


@pytest.mark.parametrize(
    ("policy_id", "number"),
    [
        ("dpo-ds-000007", 7), ("kto-ds-000012", 12), ("served/by/dpo-ds-1000000", 1_000_000),
        (None, None), ("base", None), ("", None), ("dpo-ds-7", None), ("mydpo-ds-000007", None),
        ("dpo-ds-000007-merged", None), ("a\n/dpo-ds-000007", 7), ("dpo-ds-000007\n", None),
    ],
)  # fmt: skip
def test_a_policy_is_dated_by_the_dataset_of_its_name(
    policy_id: str | None, number: int | None
) -> None:
    assert policy_number(policy_id) == number


@pytest.mark.parametrize(
    ("most", "left"), [(0, [1, 5, 7]), (2, [1, 5]), (4, [1]), (8, []), (None, [])]
)
def test_age_counts_from_the_newest_policy_of_the_candidates(
    most: int | None, left: list[int]
) -> None:
    candidates = [made(number, policy=number or None) for number in (0, 1, 5, 7, 9)]

    found = select(candidates, replace(ALL, max_policy_age=most))

    assert found == {f"{number:032x}": "policy_age" for number in left}


def test_without_a_model_of_ours_no_policy_is_old() -> None:
    assert reasons(many(3), max_policy_age=0) == {}


# --- Shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("garbled", "honest", "share", "taken"),
    [(70, 70, 0.3, 30), (7, 70, 0.3, 7), (10, 0, 0.3, 0), (10, 10, 0.0, 0), (29, 71, 0.29, 29),
     (500, 100, 0.5, 100), (3, 1, 0.74, 2), (3, 1, 0.75, 3)],
)  # fmt: skip
def test_garbled_pairs_beyond_their_share_wait(
    garbled: int, honest: int, share: float, taken: int
) -> None:
    candidates = [made(n, is_garbled=n < garbled) for n in range(garbled + honest)]

    found = select(candidates, replace(ALL, max_garbled_share=share))

    assert set(found) == {pair.pair_id for pair in candidates[taken:garbled]}
    assert set(found.values()) <= {"garbled_share"}


def test_of_one_agent_alone_no_share_can_be_taken() -> None:
    assert reasons(many(10, agent_id="a"), max_agent_share=0.5) == {"agent_share": 10}


def test_pairs_of_no_agent_and_no_task_are_of_no_group() -> None:
    assert reasons(many(10), max_agent_share=0.1, max_task_share=0.1) == {}


def test_agents_that_say_too_much_are_taken_alike() -> None:
    sizes = {"a": 50, "b": 30, "c": 5, "d": 5}
    agents = [agent for agent, size in sizes.items() for _ in range(size)]
    candidates = [made(n, agent_id=agent) for n, agent in enumerate(agents)]

    found = select(candidates, replace(ALL, max_agent_share=0.4))

    taken = Counter(pair.agent_id for pair in candidates if pair.pair_id not in found)
    assert taken == {"a": 20, "b": 20, "c": 5, "d": 5}


@EXAMPLES
@given(mixed(), SHARES, SHARES, SHARES)
def test_every_share_holds_of_what_is_taken(
    candidates: list[Candidate], garbled: float, agent: float, task: float
) -> None:
    chosen = replace(ALL, max_garbled_share=garbled, max_agent_share=agent, max_task_share=task)

    found = select(candidates, chosen)

    taken = [pair for pair in candidates if pair.pair_id not in found]
    assert set(found.values()) <= WAITS
    for share, groups in (
        (garbled, ["garbled" for pair in taken if pair.is_garbled]),
        (agent, [pair.agent_id for pair in taken if pair.agent_id]),
        (task, [pair.task_id for pair in taken if pair.task_id]),
    ):
        largest = max(Counter(groups).values(), default=0)
        assert largest <= Fraction(str(share)) * len(taken)


@EXAMPLES
@given(mixed(), st.sampled_from(["max_garbled_share", "max_agent_share", "max_task_share"]), SHARES)
def test_no_more_waits_than_one_share_asks_for(
    candidates: list[Candidate], name: str, share: float
) -> None:
    """One more of each group that waits would be too many."""
    found = select(candidates, replace(ALL, **{name: share}))

    def group(pair: Candidate) -> str | None:
        if name == "max_garbled_share":
            return "garbled" if pair.is_garbled else None
        return pair.agent_id if name == "max_agent_share" else pair.task_id

    taken = Counter(group(pair) for pair in candidates if pair.pair_id not in found)
    waiting = Counter(group(pair) for pair in candidates if pair.pair_id in found)
    more = Counter({each: 1 for each in waiting}) + taken
    assert None not in waiting
    if waiting:
        largest = max(number for each, number in more.items() if each is not None)
        assert largest > Fraction(str(share)) * more.total()


@EXAMPLES
@given(
    st.dictionaries(st.sampled_from([None, "a", "b", "c", "d"]), st.integers(1, 30)),
    st.sampled_from([0.0, 0.1, 0.2, 0.29, 0.3, 0.5, 0.75, 0.9]),
)
def test_the_largest_group_is_the_one_that_trying_all_finds(
    sizes: dict[str | None, int], share: float
) -> None:
    groups = [size for group, size in sizes.items() if group is not None]

    def fits(most: int) -> bool:
        taken = sizes.get(None, 0) + sum(min(size, most) for size in groups)
        return all(min(size, most) <= Fraction(str(share)) * taken for size in groups)

    assert largest_group(sizes, share) == max(
        (most for most in range(max(groups, default=0) + 1) if fits(most)), default=0
    )


@EXAMPLES
@given(mixed(), st.permutations(range(60)))
def test_what_is_taken_owes_nothing_to_other_ids(
    candidates: list[Candidate], order: list[int]
) -> None:
    """Other names for agents and tasks change nothing: only who shares one counts."""
    names = {None: None} | {name: f"n-{order[n]}" for n, name in enumerate("abctuvw")}
    renamed = [
        replace(pair, agent_id=names[pair.agent_id], task_id=names[pair.task_id])
        for pair in candidates
    ]
    chosen = replace(ALL, max_garbled_share=0.3, max_agent_share=0.4, max_task_share=0.5)

    assert select(candidates, chosen) == select(renamed, chosen)


@pytest.mark.parametrize(
    ("by", "task_id", "key"), [("run", "t", "r"), ("task", "t", "t"), ("task", None, "r")]
)
def test_what_is_held_out_goes_by_run_or_task(by: Any, task_id: str | None, key: str) -> None:
    assert held_out_key({"run_id": "r", "task_id": task_id}, by) == key
