"""Rows a and b: the worker beside a bare loop and beside its peers, over the same events.

All clocks start when partitions are taken over (a peer's at its first event) and stop at the last
outcome in its topic; the bare loop's stops when it has parsed the last event. Slow peers get fewer
events: rates are compared, and rows over the same events.
"""

from contextlib import closing

from benchmarks.bench import Bench, Row
from benchmarks.load import Load
from benchmarks.peers.frameworks import PEERS, Peer
from benchmarks.peers.job import READY, ROW_TOPICS
from benchmarks.report import Goal, Measured, ratio
from benchmarks.rows import expected, found
from benchmarks.timing import beside_bare, warm_up

EVENTS = 240_000
PEER_EVENTS = 16_000
INTERLEAVED = 1000

# Whose speed a peer's is compared with.
OURS = "worker"


def settle_in_turn(bench: Bench) -> Measured:
    """Row a: runs one after the other."""
    return _measure(bench, interleaved=1)


def settle_interleaved(bench: Bench) -> Measured:
    """Row b: every batch touches a thousand runs."""
    return _measure(bench, interleaved=INTERLEAVED)


def _measure(bench: Bench, *, interleaved: int) -> Measured:
    load = bench.load(EVENTS, interleaved=interleaved)
    peers_load = bench.load(PEER_EVENTS, interleaved=interleaved)
    measured = Measured(
        facts={
            "load": load.name,
            "events": load.events,
            "events_of_peers": peers_load.events,
            "peers": {peer.name: peer.version() for peer in PEERS},
        }
    )
    warm_up(bench, load)
    for number in range(bench.options.turns):
        is_last = number == bench.options.turns - 1
        turn = _our_turn(bench, load, measured if is_last else None)
        for peer in PEERS:
            rate, is_same = _peer_turn(bench, peer, peers_load)
            turn[peer.name] = rate
            turn[f"of_{peer.name}"] = ratio(turn[OURS], rate)
            name = f"{peer.name}_gives_the_same_rows"
            measured.correctness[name] = measured.correctness.get(name, True) and is_same
        measured.turns.append(bench.told(turn))
    return measured


def _our_turn(bench: Bench, load: Load, measured: Measured | None) -> dict[str, float]:
    """Also checks what came out, where there is somewhere to note it."""
    with bench.deployment() as deployment:
        turn = beside_bare(bench, deployment, deployment.fill(load))
        if measured is not None:
            measured.correctness["rows_are_those_of_the_pure_functions"] = found(
                deployment
            ) == expected(load)
            measured.correctness["verify_holds"] = deployment.verified()
    return turn


def _peer_turn(bench: Bench, peer: Peer, load: Load) -> tuple[float, bool]:
    """Events a second, and whether its rows are ours."""
    wanted = expected(load)
    with bench.deployment() as deployment:
        fed = deployment.fill(load)
        with closing(deployment.watch()) as outcomes, deployment.running(peer.command()) as process:
            begun = process.said_at(READY)
            ended = outcomes.reached_at(fed.runs, process)
            process.wait_until(
                lambda: all(deployment.count(topic) >= wanted[topic].count for topic in ROW_TOPICS),
                "all rows stood there",
            )
        return fed.events / (ended - begun), found(deployment) == wanted


ROWS = (
    Row(
        "a",
        "worker, full job",
        (Goal("of_bare", "at least", 0.8), Goal("of_quix", "at least", 2.5)),
        settle_in_turn,
    ),
    Row(
        "b",
        "worker, 1,000 runs interleaved",
        (Goal("of_bare", "at least", 0.7),),
        settle_interleaved,
    ),
)
