"""Ends the worker when a topic that it reads was made anew, or got other partitions, under it.

A consumer does not notice: it would go on at its old offset, and lose what lies before it.
"""

import asyncio
from collections.abc import Callable

import structlog

from schemas.errors import PairstreamError
from streams.state import check_same_topics

log = structlog.get_logger("pairstream.source")

LOOK_SECONDS = 10.0


async def watch_source(describe: Callable[[], bytes], *, changed: Callable[[str], None]) -> None:
    """Compare what `describe` says with what it said first, for as long as the worker runs."""
    first = None
    while True:
        try:
            source = await asyncio.to_thread(describe)
        except PairstreamError as error:
            log.warning("topics_not_described", why=str(error))
        else:
            first = first or source
            try:
                check_same_topics(source, first)
            except PairstreamError as error:
                changed(str(error))
        await asyncio.sleep(LOOK_SECONDS)
