"""A model behind an endpoint that answers as OpenAI's: vLLM, llama.cpp, Ollama, a provider.

What an endpoint says is not trusted: it is read up to a limit, decoded by our own types, and no
redirect is followed, so that prompts go nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import msgspec
import openai
import structlog
from msgspec import Struct

from schemas.json_errors import JSON_ERRORS
from schemas.settings import GarblingSettings
from streams.high_temperature import Ask, ModelFailed, NoSample

log = structlog.get_logger()

MAX_ANSWER_BYTES = 2**20

# Fields of vLLM, SGLang and llama.cpp: without them a server fills in the model's own sampling
# settings. -1 is off to all of them.
EXPLICIT = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}

# A request that is wrong, which says nothing about the endpoint's health.
REFUSED = (400, 413, 422)


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Message


class _Usage(Struct):
    total_tokens: int = 0


class _Completion(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class Budget:
    """Tokens that may still be asked for; what is under way counts as what it may take at most."""

    def __init__(self, tokens: int | None) -> None:
        self._limit = tokens
        self._taken = 0
        self._is_told = False

    def take(self, tokens: int) -> None:
        """Raises: NoSample when they are not there."""
        if self._limit is not None and self._taken + tokens > self._limit:
            if not self._is_told:
                self._is_told = True
                log.warning("garbler_budget_is_used_up", budget_tokens=self._limit)
            raise NoSample("over_budget")
        self._taken += tokens

    def correct(self, *, taken: int, really: int) -> None:
        self._taken += really - taken


class OpenAIModel:
    """Samples from an endpoint by the `openai` client, which retries with back-off."""

    def __init__(self, url: str, model: str, key: str | None, settings: GarblingSettings) -> None:
        self.at_once = settings.garbler_concurrency
        self._model = model
        self._temperature = settings.garbler_temperature
        self._seconds = settings.garbler_timeout_seconds
        self._budget = Budget(settings.garbler_budget_tokens)
        self._extra: Mapping[str, float] = EXPLICIT
        # What the environment holds for another server must not go to this one.
        omitted = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), openai.Omit())
        headers: Any = {**omitted, "Accept-Encoding": "identity"}
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",
            default_headers=headers,
            max_retries=settings.garbler_retries,
            timeout=self._seconds,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, event_hooks={"response": [_limit]}
            ),
        )
        # Named here: only then the client loads what it needs, which would stop the loop for
        # seconds at the first request.
        self._create = self._client.chat.completions.with_raw_response.create

    async def sample(self, ask: Ask) -> str:
        estimate = ask.tokens + ask.prompt_tokens
        self._budget.take(estimate)
        try:
            async with asyncio.timeout(self._seconds):
                said = _decoded(await self._say(ask))
        except (TimeoutError, openai.APITimeoutError) as error:
            raise ModelFailed("timed_out") from error
        except openai.APIStatusError as error:
            self._budget.correct(taken=estimate, really=0)
            kind = NoSample if error.status_code in REFUSED else ModelFailed
            raise kind(f"http_{error.status_code}") from error
        except openai.OpenAIError as error:
            raise ModelFailed("no_answer") from error
        if said.usage is not None:
            self._budget.correct(taken=estimate, really=said.usage.total_tokens)
        return said.choices[0].message.content or ""

    async def aclose(self) -> None:
        await self._client.close()

    async def _say(self, ask: Ask) -> bytes:
        extra = self._extra
        try:
            return await self._post(ask, extra)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if not extra:
                raise
        said = await self._post(ask, {})
        if self._extra:  # so they were to blame
            self._extra = {}
            log.info("garbler_endpoint_takes_only_fields_of_openai", left_out=sorted(extra))
        return said

    async def _post(self, ask: Ask, extra: Mapping[str, float]) -> bytes:
        """Every sampling setting is given, so that none comes from the server."""
        messages: Any = msgspec.to_builtins(ask.prompt)
        answer = await self._create(
            model=self._model,
            messages=messages,
            n=1,
            seed=ask.seed,
            temperature=self._temperature,
            top_p=1.0,
            frequency_penalty=0.0,
            presence_penalty=0.0,
            max_tokens=ask.tokens,
            extra_body=extra,
        )
        return answer.http_response.content


def _decoded(body: bytes) -> _Completion:
    try:
        said = msgspec.json.decode(body, type=_Completion)
    except JSON_ERRORS as error:
        raise ModelFailed("no_completion") from error
    if not said.choices:
        raise NoSample("no_choice")
    return said


async def _limit(response: httpx2.Response) -> None:
    """Before an answer is read; what is packed stays so, as it could be of any size."""
    response.headers.pop("content-encoding", None)
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    response.stream = _Limited(stream)


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                raise ModelFailed("long_answer")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
