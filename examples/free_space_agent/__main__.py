"""The command line of the live agent that frees space on small disks."""

import argparse
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from program_writer import Writers

DELIVERY_SECONDS = 30.0

DESCRIPTION = """\
A live agent that reports to pairstream. Each run gets a small disk in a scratch folder, looks
around on it, proposes strategies, writes a program for each, runs it behind a fence, measures the
bytes of junk that it freed, and tries again after failures.

Strategies and programs are drawn from a pool of very different worth (pool.md), or written by a
model. Events go to the cluster that PAIRSTREAM_BOOTSTRAP_SERVERS names, to the topics that
PAIRSTREAM_TOPIC_PREFIX goes before.
"""

EXAMPLES = """\
examples:
  pairstream broker & pairstream topics apply   # a cluster to report to
  python examples/free_space_agent --runs 12
  python examples/free_space_agent --runs 100 --seed 7 --delay 2
  python examples/free_space_agent --model models/my-model
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if platform.system() != "Linux":
        return fail("runs on Linux only: its fence is made of what Linux has")
    try:
        import pairstream_client  # noqa: F401 - to say so plainly
    except ModuleNotFoundError:
        return fail("pairstream_client is not installed: pip install pairstream-client")
    try:
        writers = writers_for(options)
    except (ImportError, OSError, ValueError) as error:
        return fail(f"{options.model} cannot be used: {error}")
    return work(writers, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="free_space_agent",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=int, default=12, metavar="N", help="how many runs (default: 12)")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same work (default: 0)")
    add(
        "--run-ids",
        metavar="NAME",
        help="call the runs NAME-1, NAME-2 and so on; once on a cluster (default: random ids)",
    )
    add("--model", type=Path, metavar="DIR", help="a folder with a transformers model that writes")
    add(
        "--delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="pause between runs (default: 0)",
    )
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.delay < 0:
        parser.error("--runs must be 1 or more, and --delay 0 or more")
    if options.model is not None and not (options.model / "config.json").is_file():
        parser.error(f"--model: {options.model} is no folder with a transformers model")
    return options


def writers_for(options: argparse.Namespace) -> "Writers":
    """Raises: ImportError without transformers; OSError, ValueError for a folder it cannot load."""
    if options.model is None:
        from program_pool import Pool

        say("no model: strategies and programs are drawn from a pool")
        return Pool(options.seed)
    from model_writer import Model

    say(f"strategies and programs are written by the model in {options.model}")
    return Model(options.model, options.seed)


def work(writers: "Writers", options: argparse.Namespace) -> int:
    from agent_loop import Agent
    from asked_to_stop import AskedToStop

    from pairstream_client import Publisher

    stop = AskedToStop()
    publisher = Publisher()
    agent = Agent(
        writers,
        seed=options.seed,
        publisher=publisher,
        is_stopping=stop,
        run_ids=options.run_ids,
    )
    for number in range(options.runs):
        if number:
            stop.pause(options.delay)
        if stop():
            break
        report = agent.work(number)
        print(
            f"{report.run_id}  {report.task_id}  {report.strategies} strategies  "
            f"{report.attempts} attempts  best {report.best_score:.0f} bytes",
            flush=True,
        )
    publisher.close(DELIVERY_SECONDS)
    lost = publisher.stats.failed + publisher.stats.dropped
    if lost:
        return fail(
            f"{lost} events were not acknowledged: is the cluster of PAIRSTREAM_BOOTSTRAP_SERVERS "
            "up, and did `pairstream topics apply` make its topics?"
        )
    return 0


def fail(text: str) -> int:
    print(f"free_space_agent: {text}", file=sys.stderr)
    return 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
