"""Near duplicates, against the shares of runs of words that they are made of."""

import hashlib
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from trainer import near
from trainer.near import HASHES, RUN, Sketches, sketch_of

WORDS = [f"word{number}" for number in range(2000)]


def text(seed: int, *, changed: int = 0, words: int = 200) -> str:
    """So many words; of two texts with the same seed so many differ."""
    drawn = random.Random(seed).choices(WORDS, k=words)
    for place in range(changed):
        drawn[place * words // max(1, changed)] = f"other{place}"
    return " ".join(drawn)


def row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    texts = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return {side: [{"role": "user", "content": content}] for side, content in texts.items()}


BASE = row(text(1), text(2), text(3))


def runs(content: str) -> set[tuple[str, ...]]:
    words = content.split()
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


def is_near(other: dict[str, Any]) -> bool:
    sketches = Sketches()
    assert sketches.is_new(sketch_of(BASE))
    return not sketches.is_new(sketch_of(other))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BASE, True),
        (row(text(1, changed=2), text(2, changed=2), text(3, changed=2)), True),
        (row(text(1), "  " + text(2).replace(" ", "\n"), text(3)), True),
        (row(text(9), text(2), text(3)), False),
        (row(text(1), text(9), text(3)), False),
        (row(text(1), text(2), text(9)), False),
        (row(text(1), text(3), text(2)), False),
        (row(text(1), text(2, changed=60), text(3)), False),
        (row("", "", ""), False),
    ],
)
def test_pairs_are_near_when_all_three_sides_are(other: dict[str, Any], expected: bool) -> None:
    assert is_near(other) is expected


def test_answers_that_repeat_under_many_prompts_are_compared_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare, counts = near._near, Counter[str]()

    def count(*rows: Any) -> Any:
        counts["compared"] += 1
        return compare(*rows)

    monkeypatch.setattr(near, "_near", count)
    sketches, pairs = Sketches(), 100
    news = [sketches.is_new(sketch_of(row(text(seed), "yes", "no"))) for seed in range(pairs)]

    assert all(news)
    assert counts["compared"] == 2 * (pairs - 1)  # the answers, and the prompts so far
    assert not sketches.is_new(sketch_of(row(text(7, changed=2), "yes", "no")))


def test_what_is_near_is_near_one_that_was_kept_and_shares_a_band() -> None:
    """Held against comparing each with each."""
    chance = random.Random(5)
    drawn = [
        [text(chance.choice(seeds), changed=chance.choice([0, 0, 2, 10])) for _ in range(300)]
        for seeds in ((1, 2), (3, 4), (5, 6))
    ]
    sketches, kept = Sketches(), []
    for texts in zip(*drawn, strict=True):
        sketch = sketch_of(row(*texts))
        values = np.frombuffer(sketch, dtype="<u4").reshape(3, HASHES)
        bands = values[1:].reshape(2, -1, 2)[:, : near.BANDS]
        is_near = any(
            ((values == other).mean(axis=1) >= near.THRESHOLD).all()
            and (bands == other[1:].reshape(2, -1, 2)[:, : near.BANDS]).all(axis=(0, 2)).any()
            for other in kept
        )
        assert sketches.is_new(sketch) is not is_near
        if not is_near:
            kept.append(values)
    assert 10 < len(kept) < 290


def test_texts_that_are_short_or_empty_are_near_only_the_same() -> None:
    sketches = Sketches()
    texts = ["", "a", "a b", "free(1)", "free(2)", "ls"]

    assert all(sketches.is_new(sketch_of(row(each, each, each))) for each in texts)
    assert not any(sketches.is_new(sketch_of(row(each, each, each))) for each in texts)


@pytest.mark.parametrize("changed", [0, 2, 5, 10, 20, 50])
def test_the_share_of_equal_values_is_about_that_of_common_runs(changed: int) -> None:
    one, other = runs(text(1, words=400)), runs(text(1, words=400, changed=changed))
    share = len(one & other) / len(one | other)

    a, b = (near._sketch(text(1, words=400, changed=number)) for number in (0, changed))

    # Three times the standard error at the worst share.
    assert float((a == b).mean()) == pytest.approx(share, abs=3 * 0.5 / HASHES**0.5)


def test_a_long_text_is_sketched_in_parts_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sketch_of(BASE)
    monkeypatch.setattr(near, "RUNS_AT_ONCE", 7)

    assert sketch_of(BASE) == whole


def test_a_sketch_is_the_same_everywhere_and_for_ever() -> None:
    """Else the same pairs would give another dataset after an update."""
    found = sketch_of(row("Empty the cache of r-1, 清理.", "import shutil; rmtree('cache')", ""))

    assert len(found) == 3 * 4 * HASHES
    assert hashlib.sha256(found).hexdigest() == (
        "236b02192df2b4bfe3d5f65b8b0cf70f60da1cb28cb807a13632419208752d85"
    )
