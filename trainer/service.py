"""The trainer: takes in pairs, cuts datasets at the threshold, has each trained once.

Guarantee: whatever is killed when, every pair stands in one dataset and every dataset is trained
once. A training never holds up the intake.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import structlog

from schemas.errors import DISK_ERRORS, PairstreamError
from schemas.settings import TrainerSettings
from schemas.source import Source
from trainer.consumer import PairsConsumer
from trainer.intake import Intake, Record
from trainer.layout import DataDir, make_folder
from trainer.losses import PairsLost, find_losses, lost, pass_over
from trainer.moment import moment_of
from trainer.outbox import Outbox
from trainer.policies import Policies
from trainer.source import open_source, remember_starts
from trainer.traces import TrainerTraces
from trainer.trainings import Trainings
from trainer.trigger import Trigger, has_reached
from trainer.vitals import TrainerVitals

log = structlog.get_logger()


def run_trainer(
    settings: TrainerSettings,
    source: Source,
    *,
    once: bool,
    stop: threading.Event,
    vitals: TrainerVitals,
    traces: TrainerTraces,
    accept_loss: bool = False,
) -> None:
    """Run until `stop` is set, or, with `once`, until nothing that was there is left to do.

    Raises: PairstreamError with the line for the user; nothing is half published then. Of this
    kind is PairsLost, unless `accept_loss`.
    """
    data = DataDir(settings.data_dir.absolute())
    with _explained_disk_errors(data), _locked(data):
        known = open_source(data, source)
        with closing(PairsConsumer(settings, source.topic, source.partitions)) as consumer:
            starts = remember_starts(data, known, consumer.earliest).starts or {}
            with closing(Intake(data, settings, source, starts)) as intake:
                losses = find_losses(intake.positions, consumer.earliest)
                if losses and not accept_loss:
                    raise lost(source.topic, losses)
                if losses:
                    pass_over(data, intake, losses)
                consumer.start(intake.positions)
                outbox = Outbox(settings, told=(vitals.stepped, traces.stepped))
                vitals.begin(outbox)
                with Trainings(data, settings, known.id, outbox, once=once) as trainings:
                    serve(
                        settings, consumer, intake, outbox, trainings,
                        once=once, stop=stop, vitals=vitals, traces=traces,
                    )  # fmt: skip
                    if once:
                        trainings.wait(stop)


def serve(  # noqa: PLR0913 - the parts of a trainer
    settings: TrainerSettings,
    consumer: PairsConsumer,
    intake: Intake,
    outbox: Outbox,
    trainings: Trainings,
    *,
    once: bool,
    stop: threading.Event,
    vitals: TrainerVitals,
    traces: TrainerTraces,
) -> None:
    trigger = Trigger(settings.trigger_pairs, Policies.of(settings))
    log.info(
        "trainer_started",
        data_dir=str(settings.data_dir),
        new_pairs=intake.new_pairs,
        needed=trigger.missing(intake.new_pairs),
    )
    refuse = vitals.refusing(outbox.refuse)
    finished = False
    while not finished and not stop.is_set():
        trainings.check()
        records = _read(consumer, intake, outbox, traces)
        new = intake.take(records, refuse)
        vitals.took_in(new)
        traces.took_in(len(records), new)
        for partition, end in consumer.ended.items():
            intake.skip_to(partition, end)
        fires = False
        if consumer.has_heard_of_all:
            finished = once and has_reached(intake.positions, consumer.ends_at_start)
            ends = consumer.ends_at_start if once else consumer.known_ends()
            moment = moment_of(settings, intake.newcomers, datetime.now(UTC))
            fires = trigger.fires(
                intake.new_pairs, positions=intake.positions, ends=ends, moment=moment
            )
        if fires or finished or intake.is_due():
            _close_segments(intake, outbox, traces)
            consumer.show_position(intake.durable_positions)
        if fires:
            begun_ns = time.time_ns()
            dataset = intake.cut()
            vitals.cut(dataset)
            traces.cut(begun_ns, dataset)
            trigger.fired(left=intake.new_pairs, at=datetime.now(UTC))
            trainings.wake()
        vitals.turned(consumer, intake)
    _close_segments(intake, outbox, traces)


def _read(
    consumer: PairsConsumer, intake: Intake, outbox: Outbox, traces: TrainerTraces
) -> list[Record]:
    try:
        return consumer.read()
    except PairsLost:
        # What was read, and may be gone now, is not lost as well.
        _close_segments(intake, outbox, traces)
        raise


def _close_segments(intake: Intake, outbox: Outbox, traces: TrainerTraces) -> None:
    """Dead letters first: an offset counts as dealt with only when its record is safe."""
    begun_ns = time.time_ns()
    outbox.deliver()
    intake.close_segments()
    traces.closed_segments(begun_ns)


@contextmanager
def _locked(data: DataDir) -> Iterator[None]:
    """One trainer owns a data directory; the lock ends with the process."""
    try:
        make_folder(data.root)
    except FileExistsError as error:
        raise PairstreamError(
            f"{error.filename} is no folder: remove it, or use another --data-dir"
        ) from error
    with data.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PairstreamError(
                f"another trainer works on {data.root}: stop it, or use another --data-dir"
            ) from error
        yield


@contextmanager
def _explained_disk_errors(data: DataDir) -> Iterator[None]:
    """A failed write is final: what was not published is read again by the next start."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise PairstreamError(
            f"{error.filename or data.root} cannot be written ({os.strerror(error.errno or 0)}): "
            "make room or mend the disk, then start the trainer again; it goes on where it was"
        ) from error
    except sqlite3.DatabaseError as error:
        raise PairstreamError(
            f"{data.index} cannot be used ({error}): make room, or remove it; the next start "
            "rebuilds it from the segments"
        ) from error
