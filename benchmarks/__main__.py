"""Measures the rows of the table, each beside what it is compared with, in turns.

    KAFKA_HOME=... python -m benchmarks [--rows a,c,j] [--quick] [--turns N]

Writes one JSON file for each row and the pictures. Goals are those of whole loads: over smaller
ones starting and stopping weigh in, and nothing is judged. The exit code is 1 when something that
was measured is not correct; a goal that a busy machine misses is only told.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Options, Row
from benchmarks.catalogue import ROWS
from benchmarks.machine import describe_machine, load_average
from benchmarks.report import Measured, document, table
from schemas.errors import PairstreamError

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = RESULTS / "quick"

QUICK_SCALE, QUICK_TURNS = 0.1, 1

# Minutes of trainings, which need no Kafka: only by its name.
BY_NAME = ("t",)


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    home = os.environ.get("KAFKA_HOME")
    if not home:
        parser.error("set KAFKA_HOME to the folder of Apache Kafka")
    options = Options(
        kafka_home=Path(home),
        turns=arguments.turns or (QUICK_TURNS if arguments.quick else Options.turns),
        scale=arguments.scale or (QUICK_SCALE if arguments.quick else Options.scale),
        recorded=arguments.recorded,
    )
    letters = (
        arguments.rows.split(",")
        if arguments.rows
        else [row.letter for row in ROWS if row.letter not in BY_NAME]
    )
    if unknown := set(letters) - {row.letter for row in ROWS}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    out: Path = arguments.out or (QUICK_RESULTS if options.scale < 1 else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    documents = []
    with Bench(options) as bench:
        for row in ROWS:
            if row.letter in letters:
                documents.append(_measure(row, bench))
                _write(out, documents[-1])
    print(table(documents))
    _draw(out)
    return 0 if all(each["correct"] for each in documents) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rows = ", ".join(f"{row.letter} ({row.what})" for row in ROWS)
    parser.add_argument(
        "--rows", metavar="a,c", help=f"only these: {rows}; t is measured only where it is named"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the loads, one turn")
    parser.add_argument("--turns", type=int, help="3 by default; with --quick 1")
    parser.add_argument("--scale", type=float, help="of the loads; 1 by default, with --quick 0.1")
    parser.add_argument("--recorded", type=Path, help="JSON lines of recorded events as the load")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the results; benchmarks/results by default, for small loads quick/ in it",
    )
    return parser


def _measure(row: Row, bench: Bench) -> dict[str, Any]:
    print(f"{row.letter}: {row.what}", flush=True)
    begun, before = time.monotonic(), load_average()
    try:
        measured = row.measure(bench)
    except (RuntimeError, PairstreamError) as error:
        # The other rows are still worth their time.
        bench.say(f"it failed: {error}")
        measured = Measured(correctness={"it_came_to_its_end": False}, notes=[str(error)])
    around = {
        "machine": describe_machine(bench.options.kafka_home),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "load_average": {"before": before, "after": load_average()},
        "options": {"turns": bench.options.turns, "scale": bench.options.scale},
    }
    return document(row.letter, row.what, row.goals, measured, around)


def _write(folder: Path, row: dict[str, Any]) -> None:
    (folder / f"{row['row']}.json").write_text(json.dumps(row, indent=2) + "\n")


def _draw(folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: matplotlib is not installed (pip install --group bench)")
        return
    from benchmarks.plots import draw_all

    draw_all(folder)


if __name__ == "__main__":
    sys.exit(main())
