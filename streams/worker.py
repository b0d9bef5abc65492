"""Runs one worker until SIGTERM or Ctrl-C.

Guarantee: what it had not committed when it ended, however it ended, is done again by the next.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import structlog
from faust.worker import Worker

from schemas.settings import WorkerSettings
from schemas.traces import Begin
from streams import stacks
from streams.app import WorkerApp
from streams.self_check import check_installation
from streams.vitals import WorkerVitals

log = structlog.get_logger()

# A stop that takes longer is ended hard: nothing is lost by it.
STOP_SECONDS = 30.0

FAILED = 1


def run_worker(
    settings: WorkerSettings,
    *,
    partitions: int,
    describe_source: Callable[[], bytes],
    vitals: WorkerVitals,
    begin_trace: Begin | None = None,
) -> int:
    """Returns the exit code: 0 after SIGTERM or Ctrl-C; a failure ends the process with 1.

    Args:
        partitions: of the events topic, which the state was laid out for.
        describe_source: the topics that it reads, as the cluster knows them now. Blocking; may
            raise PairstreamError.
        vitals: is told what the worker does.
        begin_trace: begins the trace of a batch; None: nobody wants any.

    Raises: PairstreamError when this installation cannot run a worker.
    """
    check_installation()
    # Events and rows form no cycles, so looking for these often finds nothing.
    gc.set_threshold(50_000, 20, 20)
    # The fetching thread can wait for its turn: to switch every 5 ms costs a twentieth of the work.
    sys.setswitchinterval(0.02)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app = WorkerApp(
        settings,
        partitions=partitions,
        describe_source=describe_source,
        vitals=vitals,
        failed=_end,
        begin_trace=begin_trace,
    )
    worker = _QuietWorker(
        app.faust, loop=loop, loglevel="WARN", redirect_stdouts=False, override_logging=False
    )
    worker.spinner = None
    stacks.install(loop, app.other_loops)
    log.info("worker_starting", group=app.names.worker_app, partitions=partitions)
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if end.code not in (0, None):
            _end(f"Faust cannot go on: {worker.crash_reason or app.faust.crash_reason!r}")
    app.state_reader.close()
    if app.redactor is not None:
        log.info("texts_redacted", counts=dict(app.redactor.counts))
    return 0


def _end(why: str) -> NoReturn:
    """End at once: after a failed write the log is the truth, not this process's memory."""
    log.critical("worker_ended", why=why)
    sys.stderr.write(f"pairstream: the worker ended: {why}\n")
    sys.stderr.flush()
    os._exit(FAILED)


class _QuietWorker(Worker):
    """Faust's worker without its banner, and with a bounded stop."""

    async def on_first_start(self) -> None:
        await self.default_on_first_start()

    def _schedule_shutdown(self, signal_: signal.Signals) -> None:
        log.info("worker_stopping", signal=signal_.name)
        timer = threading.Timer(STOP_SECONDS, _end, [f"the stop took {STOP_SECONDS:.0f} s"])
        timer.daemon = True
        timer.start()
        super()._schedule_shutdown(signal_)

    def carp(self, msg: Any) -> None:
        """Not on standard error: `worker_stopping` says it."""
