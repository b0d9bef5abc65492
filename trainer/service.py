"""The trainer: takes in pairs, cuts datasets at the threshold, has each trained once.

Guarantee: whatever is killed when, every pair stands in one dataset and every dataset is trained
once. A training never holds up the intake.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from schemas.errors import PairstreamError
from schemas.settings import TrainerSettings
from trainer.consumer import PairsConsumer
from trainer.intake import Intake
from trainer.layout import DataDir
from trainer.outbox import Outbox
from trainer.source import Source, open_source
from trainer.trainings import Trainings
from trainer.trigger import Trigger

log = structlog.get_logger()


def run_trainer(
    settings: TrainerSettings, source: Source, *, once: bool, stop: threading.Event
) -> None:
    """Run until `stop` is set, or, with `once`, until nothing that was there is left to do.

    Raises: PairstreamError with the line for the user; nothing is half published then.
    """
    data = DataDir(settings.data_dir.absolute())
    with _explained_disk_errors(data), _locked(data):
        directory_id = open_source(data, source).id
        intake = Intake(data, settings, source)
        outbox = Outbox(settings)
        with Trainings(data, settings, directory_id, outbox, once=once) as trainings:
            _serve(settings, intake, outbox, trainings, once=once, stop=stop)
            if once and not stop.is_set():
                trainings.wait(stop)


def _serve(
    settings: TrainerSettings,
    intake: Intake,
    outbox: Outbox,
    trainings: Trainings,
    *,
    once: bool,
    stop: threading.Event,
) -> None:
    source = intake.source
    trigger = Trigger(settings.trigger_pairs)
    positions = {partition: intake.position(partition) for partition in range(source.partitions)}
    consumer = PairsConsumer(settings, source.topic, positions)
    log.info(
        "trainer_started",
        data_dir=str(intake.data.root),
        topic=source.topic,
        new_pairs=intake.new_pairs,
        needed=trigger.missing(intake.new_pairs),
    )
    try:
        while not stop.is_set():
            trainings.check()
            intake.take(consumer.read(), outbox.refuse)
            for partition, end in consumer.ended.items():
                intake.skip_to(partition, end)
            waiting = intake.new_pairs + intake.open_pairs
            finished = once and _reached(intake, consumer.ends_at_start)
            fires = trigger.fires(waiting, caught_up=consumer.caught_up or finished)
            if fires or finished or intake.is_due():
                outbox.deliver()
                intake.close_segments()
                consumer.show_position(intake.positions)
            if fires:
                intake.cut()
                trainings.wake()
            if finished:
                return
        outbox.deliver()
        intake.close_segments()
    finally:
        consumer.close()


def _reached(intake: Intake, ends: dict[int, int]) -> bool:
    return all(intake.position(partition) >= end for partition, end in ends.items())


@contextmanager
def _locked(data: DataDir) -> Iterator[None]:
    """One trainer owns a data directory; the lock ends with the process."""
    data.root.mkdir(parents=True, exist_ok=True)
    with data.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PairstreamError(
                f"another trainer works on {data.root}: stop it, or use another --data-dir"
            ) from error
        yield


_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


@contextmanager
def _explained_disk_errors(data: DataDir) -> Iterator[None]:
    """A failed write is final: what was not published is read again by the next start."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        reason = os.strerror(error.errno or 0)
        raise PairstreamError(
            f"{data.root} cannot be written ({reason}): make room or mend the disk, then start "
            "the trainer again; it goes on where it was"
        ) from error
