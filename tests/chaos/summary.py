"""What came of the trials: a text for people and one JSON document for what is written later."""

import platform
import re
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
import orjson

from tests.chaos.plan import Result

Json = dict[str, object]


def as_text(result: Result) -> str:
    """One trial."""
    found = result.found
    lines = [f"seed {result.seed}: {'FAILED' if result.failed else 'held'}"]
    lines += [f"  {name.replace('_', ' ')}: {figure}" for name, figure in result.figures.items()]
    lines.append(f"  lost: {found.lost}, twice: {found.twice}, rows written again: {found.repeats}")
    lines.append(f"  {result.blows.total()} blows:")
    lines += [f"    {count} {kind}" for kind, count in sorted(result.blows.items())]
    if slowest := _slowest(result):
        lines.append(f"  slowest recovery: {slowest['seconds']} s after {slowest['after']}")
    lines.append("  ended by themselves:")
    lines += [f"    {count} {line}" for line, count in result.ended.most_common()]
    lines += [f"  WRONG: {wrong}" for wrong in found.wrong]
    if result.failed:
        lines.append(f"  kept: {result.folder}")
    return "\n".join(lines) + "\n"


def write_json(path: Path, results: list[Result], home: Path, *, seconds: float) -> None:
    """All trials up to now; `seconds` is how long they took together."""
    blows: Counter[str] = Counter()
    for result in results:
        blows.update(result.blows)
    document: Json = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(home),
        "seconds": round(seconds),
        "held": not any(result.failed for result in results),
        "seeds": len(results),
        "blows": blows.total(),
        "blows_by_kind": dict(sorted(blows.items())),
        "lost": sum(result.found.lost for result in results),
        "twice": sum(result.found.twice for result in results),
        "repeats": sum(result.found.repeats for result in results),
        "trials": [_trial(result) for result in results],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _trial(result: Result) -> Json:
    return {
        "seed": result.seed,
        "held": not result.failed,
        "blows": dict(sorted(result.blows.items())),
        **result.figures,
        "lost": result.found.lost,
        "twice": result.found.twice,
        "repeats": result.found.repeats,
        "slowest_recovery": _slowest(result),
        "ended_by_themselves": dict(result.ended),
        "wrong": result.found.wrong,
    }


def _slowest(result: Result) -> Json | None:
    if not result.recoveries:
        return None
    name, seconds = max(result.recoveries.items(), key=lambda item: item[1])
    return {"after": name, "seconds": round(seconds, 1)}


def _versions(home: Path) -> dict[str, str]:
    jars = [re.search(r"kafka_[\d.]+-([\d.]+)\.jar$", jar.name) for jar in home.glob("libs/*")]
    return {
        "kafka": next(found[1] for found in jars if found),
        "librdkafka": confluent_kafka.libversion()[0],
        "confluent-kafka": version("confluent-kafka"),
        "faust-streaming": version("faust-streaming"),
        "aiokafka": version("aiokafka"),
        "python": platform.python_version(),
    }
