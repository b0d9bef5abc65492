"""Garble requests as the worker reads them."""

from schemas.events import Message
from schemas.rows import GarbleRequest, Pair, pair_id
from streams.garbling import Garbled, ResponseKind
from streams.high_temperature import HIGH_TEMPERATURE, Ask, ask_for, distance

GOOD = "Empty the package cache, then look for large logs."


def garble_request(run_id: str = "r-1", good: str = GOOD) -> GarbleRequest:
    """One for a strategy; its seed comes from the run's id."""
    pair = Pair(
        pair_id=pair_id(run_id, "s-1", "first_time_strategy", 1, None),
        run_id=run_id,
        strategy_id="s-1",
        rule="first_time_strategy",
        prompt=[Message("system", "You free space."), Message("user", "s3cret-of-the-agent")],
        chosen=[Message("assistant", good)],
        rejected=[],
        chosen_score=2.5,
        rejected_score=None,
        chosen_attempt=1,
        rejected_attempt=None,
        garbler=None,
        agent_id=None,
        task_id=None,
        policy_id=None,
    )
    return GarbleRequest("strategy", pair)


def asked(run_id: str = "r-1", good: str = GOOD) -> Ask:
    return ask_for(garble_request(run_id, good))


def as_a_model_garbles(
    prompt: list[Message], response: str, *, kind: ResponseKind, seed: str
) -> Garbled:
    """Stands for a model that made something of a response."""
    text = response[2:] + response[:2]
    return Garbled(text, HIGH_TEMPERATURE, distance(response, text))
