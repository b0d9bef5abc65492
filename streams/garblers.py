"""Completes many garble requests at once, by `corrupt` or by a model for which it stands in."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from schemas.rows import GarbleRequest, Pair
from schemas.settings import GarblingSettings
from streams.garbling import complete, corrupt, garbled_pair
from streams.high_temperature import Ask, Model, ModelFailed, NoSample, ask_for, judge
from streams.model_choice import choose_model
from streams.stand_ins import Rest, StandIns

# Requests of one batch for each that a model is asked at once: enough to keep it busy, and few
# enough that a batch which is broken off costs little.
WAVES = 4


class Garblers(Protocol):
    """Guarantee: every request gets a garbled side, in bounded time.

    `batch`: how many requests to hand over at once, at most; None: any number.
    """

    batch: int | None

    async def pairs(self, requests: Sequence[GarbleRequest]) -> list[Pair]: ...

    async def aclose(self) -> None: ...


def open_garblers(settings: GarblingSettings) -> Garblers:
    """Asks no model yet. Raises: InvalidSettings."""
    if settings.garbler == "corrupt":
        return Corrupting()
    return Sampling(choose_model(settings))


class Corrupting:
    """The garbler that needs no model."""

    batch: int | None = None

    async def pairs(self, requests: Sequence[GarbleRequest]) -> list[Pair]:
        return await asyncio.to_thread(
            lambda: [garbled_pair(request, corrupt) for request in requests]
        )

    async def aclose(self) -> None:
        """There is nothing to close."""


class Sampling:
    """A model at high temperature; `corrupt` stands in where it gives nothing that may stand."""

    def __init__(self, model: Model) -> None:
        self.batch: int | None = WAVES * model.at_once
        self.model = model
        self.stand_ins = StandIns()
        self._slots = asyncio.Semaphore(model.at_once)
        self._rest = Rest()

    async def pairs(self, requests: Sequence[GarbleRequest]) -> list[Pair]:
        return await asyncio.gather(*map(self._pair, requests))

    async def aclose(self) -> None:
        await self.model.aclose()

    async def _pair(self, request: GarbleRequest) -> Pair:
        try:
            ask = ask_for(request)
            garbled = await asyncio.to_thread(judge, ask, await self._said(ask))
        except NoSample as none:
            self.stand_ins.stood_in(none.reason)
            return await asyncio.to_thread(garbled_pair, request, corrupt)
        self.stand_ins.took()
        return complete(request.pair, garbled)

    async def _said(self, ask: Ask) -> str:
        async with self._slots:
            if self._rest.is_on:
                raise NoSample("model_rests")
            try:
                said = await self.model.sample(ask)
            except ModelFailed:
                self._rest.failed()
                raise
            self._rest.answered()
            return said
