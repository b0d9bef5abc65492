"""What a dataset is made of, so that it can be judged without reading it."""

import msgspec


class Quantiles(msgspec.Struct, frozen=True):
    """Values that stand at these places when all are sorted."""

    min: float
    p10: float
    median: float
    p90: float
    max: float


class Shares(msgspec.Struct, frozen=True):
    """Pairs by the most frequent ids, of all the `others`, and of those that name none."""

    named: dict[str, int]
    others: int
    none: int


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one dataset's pairs, on both sides.

    `exact_duplicates` are pairs with the prompt, chosen and rejected of another one, which is not
    counted itself. `score_gap` is of pairs with a score on either side. Lengths are characters of
    all messages. Null where there is nothing to measure.
    """

    garbled: int
    exact_duplicates: int
    agents: Shares
    tasks: Shares
    policies: Shares
    score_gap: Quantiles | None
    prompt_length: Quantiles | None
    chosen_length: Quantiles | None
    rejected_length: Quantiles | None
