"""What a process serves, and which metrics an expression asks for."""

import re
import urllib.error
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

_NAME = re.compile(r"\b(?:pairstream[_:]|kafka_)[a-z_:]+\b")

ANSWER_SECONDS = 30.0

# By metric and by labels.
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def get(port: int, path: str, *, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text of an answer, whatever the status is."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def named_metrics(expression: str) -> set[str]:
    return set(_NAME.findall(expression))
