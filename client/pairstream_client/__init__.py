"""What agents import to report their runs to pairstream."""

from pairstream_client.events import Prompts
from pairstream_client.later import assign_score, finish_run
from pairstream_client.publisher import Publisher, Stats, process_publisher
from pairstream_client.recorder import RunRecorder, Strategy

__all__ = [
    "Prompts",
    "Publisher",
    "RunRecorder",
    "Stats",
    "Strategy",
    "assign_score",
    "finish_run",
    "process_publisher",
]
