"""What a manifest says of a dataset's pairs, against counts made by hand."""

import math
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.rows import Pair, assistant_message
from tests.trainer.made_pairs import line, make_pairs
from tests.trainer.stand_in import publish
from trainer.columns import Column
from trainer.composing import Composer, composition_of, quantiles, shares
from trainer.composition import Composition, Quantiles, Shares
from trainer.datasets import read_manifest

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def column(values: list[float]) -> Column:
    made = Column("d")
    for value in values:
        made.append(value)
    return made


def composed(pairs: list[Pair]) -> Composition:
    return composition_of(orjson.loads(line(pair)) for pair in pairs)


@EXAMPLES
@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_quantile_is_the_least_value_with_that_share_at_or_below_it(values: list[float]) -> None:
    found = quantiles(column(values))

    assert found is not None
    for value, share in ((found.p10, 10), (found.median, 50), (found.p90, 90), (found.max, 100)):
        wanted = min(v for v in values if 100 * sum(w <= v for w in values) >= share * len(values))
        assert value == wanted
    assert found.min == min(values)


def test_of_nothing_there_are_no_quantiles() -> None:
    assert quantiles(column([])) is None


def test_twenty_ids_are_named_and_the_rest_is_counted() -> None:
    counts: Counter[str | None] = Counter({f"a-{n:02}": 1 + n % 2 for n in range(30)})
    counts[None] = 7

    found = shares(counts)

    twice, once = [f"a-{n:02}" for n in range(1, 30, 2)], [f"a-{n:02}" for n in range(0, 10, 2)]
    assert found == Shares(dict.fromkeys(twice, 2) | dict.fromkeys(once, 1), 10, 7)
    assert list(found.named) == twice + once


def test_pairs_are_counted_by_agent_task_and_policy() -> None:
    first, second, *others = make_pairs(5)
    pairs = [
        replace(first, agent_id="b", task_id="t-1", policy_id="base"),
        replace(second, agent_id="b", task_id=None, policy_id="dpo-1"),
        *(replace(pair, agent_id=None, task_id="t-2", policy_id=None) for pair in others),
    ]

    found = composed(pairs)

    assert found.agents == Shares({"b": 2}, 0, len(others))
    assert found.tasks == Shares({"t-2": len(others), "t-1": 1}, 0, 1)
    assert found.policies == Shares({"base": 1, "dpo-1": 1}, 0, len(others))


def test_garbled_pairs_and_lengths_and_gaps_are_counted() -> None:
    pairs = make_pairs(6)

    found = composed(pairs)

    assert found.garbled == sum(pair.garbler is not None for pair in pairs) == 4
    assert found.score_gap == Quantiles(12.5, 12.5, 12.5, 12.5, 12.5)
    lengths = sorted(len(pair.prompt[0].content) for pair in pairs if len(pair.prompt) == 1)
    assert found.prompt_length is not None
    assert found.prompt_length.min == lengths[0]
    assert found.prompt_length.max == max(
        sum(len(message.content) for message in pair.prompt) for pair in pairs
    )


@pytest.mark.parametrize(
    ("changes", "duplicates"),
    [
        ({}, 1),
        ({"run_id": "another", "agent_id": "another", "chosen_score": 99.0}, 1),
        ({"chosen": assistant_message("another")}, 0),
        ({"rejected": assistant_message("another")}, 0),
        ({"prompt": []}, 0),
    ],
)
def test_a_duplicate_has_the_same_prompt_chosen_and_rejected(
    changes: dict[str, object], duplicates: int
) -> None:
    pair, other, *_ = make_pairs(2)
    again = replace(pair, pair_id="f" * 32, **changes)

    assert composed([pair, other, again]).exact_duplicates == duplicates


@pytest.mark.parametrize(("chosen", "rejected"), [(None, 1.0), (1.0, None), (1.7e308, -1.7e308)])
def test_a_gap_that_is_no_number_is_none(chosen: float | None, rejected: float | None) -> None:
    pair = replace(make_pairs(2)[-1], chosen_score=chosen, rejected_score=rejected)

    assert composed([pair]).score_gap is None


def test_a_manifest_says_what_its_files_give(tmp_path: Path) -> None:
    pairs = make_pairs(24)
    folder = publish(tmp_path, pairs).datasets / "ds-000001"

    manifest = read_manifest(folder)

    assert manifest.composition == composed(pairs)
    assert manifest.composition is not None
    assert math.isclose(manifest.composition.garbled / manifest.pairs, 0.5)


def test_shares_are_composed_together_as_one(tmp_path: Path) -> None:
    pairs = [*make_pairs(9), *make_pairs(4)]
    whole = Composer()
    for number in range(3):
        share, folder = Composer(), tmp_path / str(number)
        folder.mkdir()
        for pair in pairs[number::3]:
            share.add(orjson.loads(line(pair)))
        share.save(folder)
        whole.absorb(folder)

    assert whole.result() == composed(pairs)
