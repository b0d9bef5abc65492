"""Structured logs on standard error: JSON lines, or readable ones on a terminal."""

import logging
import os
import sys

import structlog

LEVEL_VARIABLE = "PAIRSTREAM_LOG_LEVEL"


def set_up_logs() -> None:
    """Events of ours and of the libraries, level INFO unless PAIRSTREAM_LOG_LEVEL says otherwise.

    Never carries prompts or responses above DEBUG.
    """
    level = logging.getLevelNamesMapping().get(
        os.environ.get(LEVEL_VARIABLE, "INFO").upper(), logging.INFO
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    on_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
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
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    # Faust's classes log under the module of the subclass, so two of ours are Faust's too.
    for name in ("faust", "aiokafka", "mode", "streams.table", "streams.transport", "urllib3"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
