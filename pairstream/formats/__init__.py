"""What already speaks a standard, as pairstream's events: one module for each format, pure."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pairstream.formats.record import Choices, Recorded, Source, Unmapped

Reader = Callable[[Sequence[Source], Choices], Iterator[Recorded | Unmapped]]


class Format(NamedTuple):
    """A format: where its reader is, and which files of a folder are of it."""

    module: str
    reader: str
    files: tuple[str, ...]
    about: str

    def load(self) -> Reader:
        reader: Reader = getattr(importlib.import_module(self.module), self.reader)
        return reader


FORMATS = {
    "otlp": Format(
        "pairstream.formats.trace_files",
        "read_genai",
        ("*.json", "*.jsonl", "*.pb"),
        "OTLP trace exports, JSON or protobuf, with OpenTelemetry's GenAI spans",
    ),
    "openinference": Format(
        "pairstream.formats.trace_files",
        "read_openinference",
        ("*.json", "*.jsonl", "*.pb"),
        "the same exports with OpenInference's spans",
    ),
    "atif": Format(
        "pairstream.formats.atif",
        "read",
        ("trajectory*.json", "result.json"),
        "Harbor's trajectories, with its result.json",
    ),
    "chat": Format(
        "pairstream.formats.chat",
        "read",
        ("*.jsonl",),
        "logs of chats in OpenAI's form, one a line",
    ),
    "swe-agent": Format(
        "pairstream.formats.swe_agent",
        "read",
        ("*.traj", "*.traj.json", "*report*.json", "results.json"),
        "trajectories of SWE-agent and mini-swe-agent, with SWE-bench's reports",
    ),
}
