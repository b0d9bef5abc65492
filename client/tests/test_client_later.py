"""Scores and ends that somebody else than the recorder sends."""

import json

from client_support import PROMPTS, KeepingPublisher

from pairstream_client import RunRecorder, assign_score, finish_run
from schemas.events import RunFinished, ScoreAssigned


def test_score_of_another_process_is_an_event_of_the_run(keeping: KeepingPublisher) -> None:
    run = RunRecorder(PROMPTS, publisher=keeping)
    run.propose("plan").attempt("code", compiled=True, ran=True)

    assign_score(run.run_id, "s-1", 1, 3.5, by="ci", publisher=keeping)
    finish_run(run.run_id, publisher=keeping)

    *_, score, finished = keeping.events
    assert isinstance(score, ScoreAssigned)
    assert (score.run_id, score.strategy_id, score.attempt, score.score, score.by) == (
        run.run_id, "s-1", 1, 3.5, "ci",
    )  # fmt: skip
    assert isinstance(finished, RunFinished)
    assert {event.key for event in keeping.sent} == {run.run_id.encode()}


def test_what_the_contract_forbids_is_dropped_and_raises_nothing(keeping: KeepingPublisher) -> None:
    for wrong in (
        {"score": float("nan")}, {"score": -1}, {"attempt": 0}, {"run_id": ""}, {"by": 3},
    ):  # fmt: skip
        usual: dict[str, object] = {"run_id": "r", "strategy_id": "s-1", "attempt": 1, "score": 1}
        assign_score(**{**usual, **wrong}, publisher=keeping)  # type: ignore[arg-type]

    assert [json.loads(event.value) for event in keeping.sent] == []
