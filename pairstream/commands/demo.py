"""`pairstream demo`."""

import importlib.util
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.settings_loader import load
from schemas.settings import DataSettings

if TYPE_CHECKING:
    from pairstream.demo import Summary

SHOWN_CHARACTERS = 160


@click.command("demo")
@click.option(
    "--runs", type=click.IntRange(1), default=12, show_default=True, help="Runs of the agent."
)
@click.option(
    "--trigger-pairs",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Pairs that make the trainer cut a dataset and train.",
)
@click.option(
    "--launcher",
    type=click.Choice(["auto", "docker", "process"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes Docker when an engine answers.",
)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Train this transformers model instead of a small one with random weights.",
)
@click.option(
    "--keep-running",
    is_flag=True,
    help="Leave all running until Ctrl-C, to try `status` and `explain` on it.",
)
@click.option(
    "--data-dir", metavar="DIR", help="Where the demo's folder is made.  [default: pairstream-data]"
)
def command(
    data_dir: str | None,
    runs: int,
    trigger_pairs: int,
    launcher: str,
    model: Path | None,
    keep_running: bool,
) -> None:
    """Run the main job once, here, with nothing set up: broker, live agent, worker, trainer.

    Ends with a dataset, a trained adapter and its archive in a new folder of the data directory.

    \b
    Example:
      pairstream demo --runs 30 --trigger-pairs 50
    """
    from pairstream.demo import DemoOptions, Summary, check_client, run_demo

    started = time.monotonic()
    check_client()
    base = load(DataSettings, None, {"data_dir": data_dir}).data_dir.absolute()
    launcher, python = _where_to_train(launcher, base)
    options = DemoOptions(
        folder=base / f"demo-{time.strftime('%Y%m%d-%H%M%S')}",
        runs=runs,
        trigger_pairs=trigger_pairs,
        launcher=launcher,
        training_python=python,
        model=model.absolute() if model else None,
    )
    options.folder.mkdir(parents=True)
    with (options.folder / "story.log").open("w", buffering=1) as story:

        def say(line: str) -> None:
            click.echo(line)
            story.write(line + "\n")

        def conclude(summary: Summary, servers: str) -> None:
            _conclude(options.folder, summary, time.monotonic() - started)
            if keep_running:
                _wait_for_ctrl_c(summary, servers, options.folder)

        run_demo(options, say, then=conclude)


def _where_to_train(launcher: str, base: Path) -> tuple[str, str | None]:
    """The launcher, and for `process` an interpreter that can train."""
    from trainer.launcher import EngineUnavailable

    if launcher in ("auto", "docker"):
        from trainer.docker_launcher import DockerLauncher

        try:
            DockerLauncher()
        except EngineUnavailable:
            if launcher == "docker":
                raise
            click.echo("no Docker Engine answers, so the training runs in a process")
        else:
            click.echo("training in a container: a Docker Engine answers")
            return "docker", None
    if importlib.util.find_spec("trl") is not None:
        return "process", sys.executable
    from trainer.image import training_context
    from trainer.process_launcher import training_environment

    python = training_environment(
        base / "training-venv", training_context(), base / "training-venv.log", click.echo
    )
    return "process", python


def _wait_for_ctrl_c(summary: "Summary", servers: str, folder: Path) -> None:
    click.echo(f"""
All is still running, for your own agent too. In another terminal:
  export PATH={Path(sys.executable).parent}:$PATH
  export PAIRSTREAM_BOOTSTRAP_SERVERS={servers} PAIRSTREAM_DATA_DIR={folder}
  export PAIRSTREAM_TRIGGER_PAIRS={summary.trigger_pairs}
  pairstream status
  pairstream explain demo-1
Ctrl-C ends it.""")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        click.echo()


def _conclude(folder: Path, summary: "Summary", seconds: float) -> None:
    import orjson

    dataset = folder / "datasets" / "ds-000001"
    model = folder / "models" / summary.training_id
    pairs = orjson.loads((dataset / "manifest.json").read_bytes())["pairs"]
    figures = orjson.loads((model / "result.json").read_bytes())
    with (dataset / "train.jsonl").open("rb") as lines:
        row = orjson.loads(next(iter(lines)))
    waiting = ", the others wait for the next one" if pairs < summary.pairs else ""
    outcomes = ", ".join(f"{count} {what}" for what, count in summary.outcomes.most_common())
    click.echo(f"""
Done in {seconds:.0f} s.

runs      {outcomes} (docs/concepts.md says what the reasons mean)
          each one: {folder}/story.log
pairs     {dataset}/train.jsonl
          {pairs} of {summary.pairs}{waiting}; the first, {row["rule"]}:
            prompt    {_short(row["prompt"][-1]["content"])}
            chosen    {_short(row["chosen"][0]["content"])}
            rejected  {_short(row["rejected"][0]["content"])}
model     {model}/adapter
          LoRA for {figures["base_model"]}; {_losses(figures)}
          metrics.jsonl, training.log and manifest.json stand beside it
archive   {model}.tar.gz
          to check it: cd {model.parent} && sha256sum -c {model.name}.tar.gz.sha256
logs      {folder}/agent.log, worker.log, trainer.log

Next: docs/concepts.md says what happened. To see it in a browser (with the extra `ui`):
  pairstream ui --data-dir {folder}
`make demo ARGS=--keep-running` leaves all running at the end, to try `pairstream status` and
`pairstream explain demo-1`. To report the runs of your own agent, see docs/plug-in.md.""")


def _losses(figures: dict[str, Any]) -> str:
    """A few steps on a few pairs: that it runs is shown, and no more."""
    first, last = float(figures["first_loss"]), float(figures["last"]["loss"])
    told = f"loss {first:.4f} at first, {last:.4f} at last"
    held_out = figures["evaluation"]
    if held_out:
        told += f", {float(held_out['eval_loss']):.4f} on the pairs held out"
    return f"{told} (a few steps: do not expect quality)"


def _short(text: str) -> str:
    """One line of printable text: it comes from an agent."""
    line = " ".join(text.split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return textwrap.shorten(printable, SHOWN_CHARACTERS, placeholder=" ...")
