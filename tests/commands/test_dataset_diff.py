"""Two datasets side by side, against sets."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pairstream.dataset_diff import Comparison, different_settings, side_by_side
from tests.trainer.made_pairs import line, make_pairs
from trainer.selection import CutSettings

PAIRS = make_pairs(9)
SETTINGS = CutSettings(eval_fraction=0.1)

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)

SOME = st.sets(st.sampled_from(range(len(PAIRS))))


@EXAMPLES
@given(SOME, SOME, SOME)
def test_each_pair_is_counted_where_it_stands(a: set[int], b: set[int], other: set[int]) -> None:
    lines_a = sorted(line(PAIRS[n]) for n in a)
    lines_b = sorted(
        line(PAIRS[n]).replace(b'"a"', b'"b"') if n in other else line(PAIRS[n]) for n in b
    )
    comparison = Comparison(keep_ids=True)
    for one, another in side_by_side(lines_a, lines_b):
        comparison.add(one, another)
    found = comparison.result(("a", "b"), SETTINGS, SETTINGS)

    assert (found.only_a, found.only_b, found.both) == (len(a - b), len(b - a), len(a & b))
    assert found.changed == len(a & b & other)
    assert found.ids is not None
    assert set(found.ids.only_a) == {PAIRS[n].pair_id for n in a - b}
    assert set(found.ids.only_b) == {PAIRS[n].pair_id for n in b - a}
    assert set(found.rules) == {PAIRS[n].rule for n in a | b}


def test_only_settings_that_differ_are_told() -> None:
    other = CutSettings(eval_fraction=0.2, duplicates="exact")

    assert different_settings(SETTINGS, other) == {
        "eval_fraction": (0.1, 0.2), "duplicates": ("keep", "exact")
    }  # fmt: skip
