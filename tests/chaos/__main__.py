"""Strikes a deployment by a seeded schedule, and checks that nothing is lost and nothing twice.

    KAFKA_HOME=... python -m tests.chaos [--seeds N] [--first-seed N] [--minutes M] [--only KIND...]

The schedule and what agents send are functions of the seed; when a blow meets what is not. A trial
that fails keeps its folder: ledger, logs, topics, Kafka's own files.
"""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from tests.chaos.schedule import Kind
from tests.chaos.trial import Result, Trial


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many trials")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="of blows, for each trial")
    parser.add_argument("--rate", type=float, default=60.0, help="events a second and agent")
    parser.add_argument(
        "--only", type=Kind, choices=list(Kind), nargs="+", default=list(Kind), metavar="KIND",
        help=f"of {', '.join(Kind)}",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the folders of good trials too")
    args = parser.parse_args()
    home = os.environ.get("KAFKA_HOME")
    if not home:
        parser.error("set KAFKA_HOME to the folder of Apache Kafka")
    # So that every process is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failed = 0
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        trial = Trial(Path(home), seed, minutes=args.minutes, rate=args.rate, kinds=args.only)
        result = trial.run()
        failed += result.failed
        sys.stdout.write("\n".join(_summary(result)) + "\n")
        sys.stdout.flush()
        if not (result.failed or args.keep):
            shutil.rmtree(result.folder)
    sys.exit(1 if failed else 0)


def _summary(result: Result) -> list[str]:
    found = result.found
    lines = [f"seed {result.seed}: {'FAILED' if result.failed else 'held'}"]
    lines += [f"  {name}: {figure}" for name, figure in result.figures.items()]
    lines.append(f"  lost: {found.lost}, twice: {found.twice}, rows written again: {found.repeats}")
    lines.append(f"  {result.blows.total()} blows:")
    lines += [f"    {count} {kind}" for kind, count in sorted(result.blows.items())]
    if result.recoveries:
        name, seconds = max(result.recoveries.items(), key=lambda item: item[1])
        lines.append(f"  slowest recovery: {seconds:.1f} s after {name}")
    lines.append("  ended by themselves:")
    lines += [f"    {count} {line}" for line, count in result.ended.most_common()]
    lines += [f"  WRONG: {wrong}" for wrong in found.wrong]
    if result.failed:
        lines.append(f"  kept: {result.folder}")
    return lines


if __name__ == "__main__":
    main()
