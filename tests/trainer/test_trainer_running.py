"""`pairstream trainer` as it runs on: its lock, streams without end, how it stops, and kills."""

import random
import signal
import threading
from collections.abc import Iterator

from schemas.rows import Pair
from tests.trainer.deployment import Deployment, RunningTrainer
from tests.trainer.invariants import all_lines, assert_sound, datasets, lines, snapshot
from tests.trainer.made_pairs import line, make_pairs
from tests.waiting import wait_for

MADE = make_pairs(30)


def test_a_second_trainer_on_the_same_directory_is_refused(deployment: Deployment) -> None:
    with RunningTrainer(deployment) as first:
        line = deployment.refused()
        assert line.startswith(f"pairstream: another trainer works on {deployment.root}: stop it")
        assert first.runs()
        assert first.end(signal.SIGTERM) == 0


def test_a_file_in_the_place_of_the_data_directory_is_named(deployment: Deployment) -> None:
    deployment.root.write_text("")

    assert deployment.refused() == (
        f"pairstream: {deployment.root} is no folder: remove it, or use another --data-dir"
    )


def test_a_stream_that_never_pauses_is_cut_and_a_trainer_stops_when_asked(
    deployment: Deployment,
) -> None:
    enough = threading.Event()

    def paced() -> Iterator[Pair]:
        for pair in make_pairs(9000):
            yield pair
            if enough.wait(0.02):
                return

    thread = threading.Thread(target=lambda: deployment.send(paced()))
    with RunningTrainer(deployment, "--trigger-pairs", 20, "--segment-seconds", 0.1) as trainer:
        thread.start()
        try:
            wait_for(lambda: len(datasets(deployment.root)) >= 2)
        finally:
            enough.set()
            thread.join()
        total = sum(deployment.ends().values())
        wait_for(lambda: deployment.covered() == total)
        assert trainer.end(signal.SIGTERM) == 0

    assert_sound(deployment.root, ends=deployment.ends())
    assert min(len(lines(dataset)) for dataset in datasets(deployment.root)) >= 20


def test_sigterm_keeps_what_was_read(deployment: Deployment) -> None:
    deployment.send(MADE)
    with RunningTrainer(deployment, "--segment-seconds", 3600) as trainer:
        wait_for(lambda: bool(list(deployment.root.glob("segments/*/open.tmp"))))
        assert trainer.end(signal.SIGTERM) == 0

    assert deployment.covered() > 0
    assert not list(deployment.root.glob("segments/*/*.tmp"))


def test_killed_again_and_again_each_pair_stands_in_one_dataset_once(
    deployment: Deployment,
) -> None:
    rng = random.Random(20261123)
    pairs = make_pairs(2400)
    flags = ("--trigger-pairs", 250, "--segment-seconds", 0.02, "--segment-pairs", 40)
    part = len(pairs) // 4
    for start in range(0, len(pairs), part):
        # Some again that are known, and then what is new.
        deployment.send([*pairs[max(0, start - part // 2) : start], *pairs[start : start + part]])
        until = deployment.covered() + rng.randrange(1, part)
        with RunningTrainer(deployment, *flags) as trainer:
            wait_for(lambda until=until: deployment.covered() >= until)
            assert trainer.end(signal.SIGKILL) == -signal.SIGKILL
        published = snapshot(deployment.root)

    deployment.trainer("--trigger-pairs", 1)

    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert snapshot(deployment.root).items() >= published.items()
    assert_sound(deployment.root, ends=deployment.ends())
