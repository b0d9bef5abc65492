"""Why a run gave the rows that it gave, or none: all that is known of it, as one value."""

from collections import Counter
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct

from pairstream.letters import Letter
from pairstream.lineage import ModelOfRun
from pairstream.pair_places import DatasetPlace, LeftOutPlace, PairPlaces
from pairstream.run_events import EventFacts, Fate, event_facts, fate_of, fold_events
from pairstream.run_records import Progress, RunRecords
from pairstream.terminal import moment
from schemas.errors import PairstreamError
from schemas.rows import GarbleRequest, Outcome, Pair, ScoredRow
from schemas.settings import WorkerSettings
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS, Names
from trainer.datasets import TRAIN

PairState = Literal[
    "waits_for_garbling", "in_topic", "in_segment", "in_dataset", "left_out", "waits"
]


class ScoredRowFacts(Struct, frozen=True):
    """One scored row; `row` is all of it, where texts were asked for."""

    row_id: str
    strategy_id: str
    kind: str
    attempt: int | None
    score: float
    row: ScoredRow | None


class PairFacts(Struct, frozen=True, kw_only=True):
    """One pair.

    `state`: `waits_for_garbling` has no rejected side yet; `in_topic` the trainer of this data
    directory has not taken it in; `in_segment` it waits for the next dataset; `in_dataset`;
    `left_out` for good, by a setting; `waits`: left out of a dataset, a candidate of the next one.
    `pair` is all of it, where texts were asked for.
    """

    pair_id: str
    strategy_id: str
    rule: str
    chosen_attempt: int | None
    chosen_score: float | None
    rejected_attempt: int | None
    rejected_score: float | None
    garbler: str | None
    garbled_distance: float | None
    state: PairState
    dataset: DatasetPlace | None
    left_out: LeftOutPlace | None
    pair: Pair | None


class Story(Struct, frozen=True, kw_only=True):
    """What is known of a run; the keys of `explain --json` are the fields here.

    `fate` is what its events in the log make of it, `outcomes` what a worker has written.
    `expires_at`: about when an open run is settled if it stays silent. `forgotten`: since when no
    new dataset takes its pairs. `dead_letters`: those of its records that are no event above.
    `unreadable`: rows under its key that are none. `models`: those that its pairs are in.
    """

    run_id: str
    fate: Fate
    expires_at: datetime | None
    forgotten: datetime | None
    events: list[EventFacts]
    dead_letters: list[Letter]
    outcomes: list[Outcome]
    scored_rows: list[ScoredRowFacts]
    pairs: list[PairFacts]
    unreadable: list[str]
    models: list[ModelOfRun] = []

    @property
    def trained_on(self) -> Counter[str]:
        """How many of its pairs stand in each dataset, on the side that is trained on."""
        places = (pair.dataset for pair in self.pairs if pair.dataset is not None)
        return Counter(place.dataset for place in places if place.file == TRAIN)


def read_story(
    settings: WorkerSettings, run_id: str, places: PairPlaces, *, full: bool, progress: Progress
) -> Story:
    """Look everywhere. Raises: PairstreamError when nothing is known of the run."""
    records = RunRecords(settings, run_id, progress)
    events, fate, letters = _read_events(settings, run_id, records, full=full)
    outcomes = {msgspec.json.encode(row): row for row in records.rows(RUN_OUTCOMES, Outcome)}
    scored = {row.row_id: row for row in records.rows(SCORED_ROWS, ScoredRow)}
    requests = {row.pair.pair_id: row.pair for row in records.rows(GARBLE_REQUESTS, GarbleRequest)}
    pairs = {row.pair_id: row for row in records.rows(PAIRS, Pair)}
    if not (events or letters or outcomes or scored or requests or pairs):
        raise PairstreamError(
            f"nothing is known of the run {run_id!a} at {settings.bootstrap_servers}, in "
            f"{', '.join(records.topics)}; is the id right, and was it within the time that they "
            "are kept?"
        )
    expires_at = None
    if fate.last_seen is not None and not outcomes:
        expires_at = moment(int(1000 * (fate.last_seen.timestamp() + settings.run_timeout_seconds)))
    return Story(
        run_id=run_id,
        fate=fate,
        expires_at=expires_at,
        forgotten=places.forgotten(run_id),
        events=events,
        dead_letters=letters,
        outcomes=list(outcomes.values()),
        scored_rows=[_scored_row_facts(row, full=full) for row in scored.values()],
        pairs=[
            _pair_facts(pair, places, is_garbled=pair_id in pairs, full=full)
            for pair_id, pair in {**requests, **pairs}.items()
        ],
        unreadable=records.unreadable,
    )


def _read_events(
    settings: WorkerSettings, run_id: str, records: RunRecords, *, full: bool
) -> tuple[list[EventFacts], Fate, list[Letter]]:
    """Its events with what became of them, and the dead letters that are none of them."""
    found = records.events()
    folded, partitions = fold_events(found, settings)
    committed = records.committed()
    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    places = {(topic, record.partition, record.offset) for record in found}
    letters = {_source(letter): letter for letter in records.letters(places)}
    events = [
        event_facts(
            item,
            committed=item.record.offset < committed.get(item.record.partition, 0),
            dead_letter=_place(letters.get((topic, item.record.partition, item.record.offset))),
            full=full,
        )
        for item in folded
    ]
    others = [letter for source, letter in letters.items() if source not in places]
    return events, fate_of(run_id, folded, partitions), others


def _source(letter: Letter) -> tuple[str | None, int | None, int | None]:
    if letter.source_topic is None:
        return letter.topic, letter.partition, letter.offset
    return letter.source_topic, letter.source_partition, letter.source_offset


def _place(letter: Letter | None) -> str | None:
    return letter.place if letter else None


def _scored_row_facts(row: ScoredRow, *, full: bool) -> ScoredRowFacts:
    return ScoredRowFacts(
        row.row_id, row.strategy_id, row.kind, row.attempt, row.score, row if full else None
    )


def _pair_facts(pair: Pair, places: PairPlaces, *, is_garbled: bool, full: bool) -> PairFacts:
    state: PairState = "in_topic" if is_garbled else "waits_for_garbling"
    dataset = places.dataset(pair.pair_id)
    left_out = None if dataset else places.left_out(pair.pair_id)
    if dataset is not None:
        state = "in_dataset"
    elif places.is_waiting(pair.pair_id):
        state = "in_segment"
    elif left_out is not None:
        state = "waits" if left_out.waits else "left_out"
    return PairFacts(
        pair_id=pair.pair_id,
        strategy_id=pair.strategy_id,
        rule=pair.rule,
        chosen_attempt=pair.chosen_attempt,
        chosen_score=pair.chosen_score,
        rejected_attempt=pair.rejected_attempt,
        rejected_score=pair.rejected_score,
        garbler=pair.garbler,
        garbled_distance=None if pair.garbled_distance is UNSET else pair.garbled_distance,
        state=state,
        dataset=dataset,
        left_out=left_out,
        pair=pair if full else None,
    )
