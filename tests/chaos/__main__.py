"""Strikes a deployment by a seeded schedule, and checks that nothing is lost and nothing twice.

    KAFKA_HOME=... python -m tests.chaos [--seeds N] [--first-seed N] [--minutes M | --blows N]
                                         [--only KIND...] [--json FILE]
    ... --ci      three seeds that share every kind of blow among them, some five minutes in all
    ... --leak    one seed, mild blows: the memory of what is never struck must not grow

The schedule and what agents send are functions of the seed; when a blow meets what is not. A trial
that fails keeps its folder: ledger, logs, topics, Kafka's own files. Exit code 1 when one failed.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos import leak
from tests.chaos.plan import Plan, Result
from tests.chaos.schedule import Kind
from tests.chaos.summary import as_text, write_json
from tests.chaos.trial import Trial

MINUTES = 5.0
LEAK_MINUTES = 30.0
# Short, so that many blows fall in little time; a busy machine needs a longer one, as a worker
# that is held up for half of it takes itself for a zombie.
SESSION_SECONDS = 4.0
CI_SEEDS = 3
CI_SESSION_SECONDS = 6.0


def main() -> None:
    parser = command_parser()
    args = parser.parse_args()
    home = os.environ.get("KAFKA_HOME")
    if not home:
        parser.error("set KAFKA_HOME to the folder of Apache Kafka")
    # So that every process is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began, results = time.monotonic(), list[Result]()
    for seed, plan in plans(args):
        result = Trial(Path(home), seed, plan).run()
        results.append(result)
        sys.stdout.write(as_text(result))
        sys.stdout.flush()
        if args.json is not None:
            write_json(args.json, results, Path(home), seconds=time.monotonic() - began)
        if not (result.failed or args.keep):
            shutil.rmtree(result.folder)
    sys.exit(1 if any(result.failed for result in results) else 0)


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--ci", action="store_true")
    mode.add_argument("--leak", action="store_true")
    parser.add_argument("--seeds", type=int, default=3, help="how many trials")
    parser.add_argument("--first-seed", type=int, default=1)
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--minutes", type=float, help=f"of blows, for each trial ({MINUTES:.0f})")
    end.add_argument("--blows", type=int, help="how many, for each trial")
    parser.add_argument("--session", type=float, help="of the workers, in seconds")
    parser.add_argument("--rate", type=float, default=45.0, help="events a second and agent")
    parser.add_argument(
        "--only", type=Kind, choices=list(Kind), nargs="+", default=list(Kind), metavar="KIND",
        help=f"of {', '.join(Kind)}",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a summary there")
    parser.add_argument("--keep", action="store_true", help="keep the folders of good trials too")
    return parser


def plans(args: argparse.Namespace) -> Iterator[tuple[int, Plan]]:
    """Seeds, and what each is to do."""
    if args.leak:
        yield args.first_seed, _leak_plan(args)
        return
    session = args.session or (CI_SESSION_SECONDS if args.ci else SESSION_SECONDS)
    for number in range(CI_SEEDS if args.ci else args.seeds):
        if args.ci:
            kinds = tuple(Kind)[number::CI_SEEDS]
            plan = Plan(args.rate, kinds, session, most_rounds=len(kinds))
        else:
            minutes = MINUTES if args.minutes is None and args.blows is None else args.minutes
            plan = Plan(args.rate, tuple(args.only), session, minutes=minutes, blows=args.blows)
        yield args.first_seed + number, plan


def _leak_plan(args: argparse.Namespace) -> Plan:
    return Plan(
        args.rate,
        leak.KINDS,
        args.session or leak.SESSION_SECONDS,
        minutes=args.minutes or LEAK_MINUTES,
        settings=leak.SETTINGS,
        is_leak_test=True,
    )


if __name__ == "__main__":
    main()
