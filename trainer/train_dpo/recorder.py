"""What is written, checked and told with every step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .files import Log, metrics_line, write_metrics
from .refusals import CHECK_FAILED, NOT_A_NUMBER, Refused
from .stop import Stop

LN_2 = math.log(2)

# How far policy and reference may seem apart before the first update; with KTO in any of these.
FIRST_DIFFERENCE = 0.01
FIRST_ZEROS = ("rewards/chosen", "rewards/rejected", "kl")
DIFFER = "policy and reference differ before training"


# Accuracy 1 and a margin beyond this for so many steps: the pairs teach nothing any more.
SATURATED_MARGIN, SATURATED_STEPS = 5.0, 5


def make_recorder(output: Path, stop: Stop, early_stop: int) -> Any:
    """A callback that writes `metrics.jsonl`, prints progress, checks, and stops on SIGTERM, and
    after `early_stop` saturated steps in a row (0: never).
    """
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            write_metrics(output, state)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            log = state.log_history[-1]
            with (output / "metrics.jsonl").open("a") as file:
                file.write(metrics_line(log, state.max_steps))
            pure = args.loss_type == ["sigmoid"] and args.loss_weights == [1.0]
            check_log(log, pure=pure)
            if "loss" in log:
                print(step_line(log, state.max_steps))
                if early_stop and is_saturated(steps_of(state), early_stop):
                    print(f"the last {early_stop} steps taught nothing more: it stops here")
                    control.should_save = control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if stop.asked:
                control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # A pickle that nobody reads: to go on, the trainer needs only the states.
            Path(args.output_dir, f"checkpoint-{state.global_step}", "training_args.bin").unlink()

    return Recorder()


def step_line(log: Log, steps: int) -> str:
    """Of a step of KTO without both kinds of responses there is no margin."""
    margin = f" margin {log['rewards/margins']:.4f}" if "rewards/margins" in log else ""
    return f"step {log['step']}/{steps} loss {log['loss']:.4f}{margin}"


def check_log(log: Log, *, pure: bool) -> None:
    """Raises: Refused when it is no number, or when the first step does not start from the base.

    Before the first update policy and reference are the same: margin 0 and, where the loss is
    DPO's alone (`pure`), ln 2. With KTO, which tells how far they are apart, all rewards are 0.
    """
    for key in ("loss", "grad_norm", "eval_loss"):
        if key in log and not math.isfinite(log[key]):
            raise Refused(NOT_A_NUMBER, f"{key} is not a number: lower --learning-rate")
    if log["step"] != 1 or "loss" not in log:
        return
    if "kl" in log:
        apart = max(abs(log[key]) for key in FIRST_ZEROS if key in log)
        if apart > FIRST_DIFFERENCE:
            raise Refused(CHECK_FAILED, f"the first rewards are {apart:.4f}, not 0: {DIFFER}")
        return
    loss, margin = log["loss"], log["rewards/margins"]
    if abs(margin) > FIRST_DIFFERENCE or (pure and abs(loss - LN_2) > 0.01 * LN_2):
        raise Refused(
            CHECK_FAILED,
            f"the first margin is {margin:.4f} and the loss {loss:.4f}, not 0 and ln 2: {DIFFER}",
        )


def steps_of(state: Any) -> list[Log]:
    """Its logs of single steps."""
    return [log for log in state.log_history if "loss" in log]


def is_saturated(steps: list[Log], count: int = SATURATED_STEPS) -> bool:
    """Of pairs: KTO has no accuracy, and its loss flattens out by itself."""
    last = steps[-count:]
    return len(last) == count and all(
        log.get("rewards/accuracies") == 1.0 and log["rewards/margins"] > SATURATED_MARGIN
        for log in last
    )
