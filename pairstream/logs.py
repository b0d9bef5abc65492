"""Structured logs on standard error: JSON lines, or readable ones on a terminal."""

import logging
import sys

import structlog

from pairstream.settings_loader import log_level
from pairstream.terminal import wants_colours

# aiokafka says each of its tries to reach a broker that is away, fifty a second.
THROTTLED = "aiokafka."
PAUSE_SECONDS = 5.0


class Throttle(logging.Filter):
    """Of a library's lines that differ in their values alone, one within a pause."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(THROTTLED):
            return True
        said = record.name, record.msg
        if record.created - self._passed.get(said, 0.0) < PAUSE_SECONDS:
            return False
        self._passed[said] = record.created
        return True


def set_up_logs() -> None:
    """Events of ours and of the libraries, level INFO unless PAIRSTREAM_LOG_LEVEL says otherwise.

    Never carries prompts or responses above DEBUG.

    Raises: InvalidSettings for a level that is none.
    """
    level = logging.getLevelNamesMapping()[log_level()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    on_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=wants_colours())
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Throttle())
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    # Faust's classes log under the module of the subclass, so two of ours are Faust's too.
    for name in ("faust", "aiokafka", "mode", "streams.table", "streams.transport", "urllib3"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # They tell each request, and below INFO its headers and texts.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
