"""What a training teaches: a small model before and after, on pairs that it has not seen.

    python -m benchmarks.quality --recorded FILE [--seeds 2] [--out FILE]

Trains on the pairs `mixed_code` of recorded runs, and on the same good sides against garbled ones.
Takes some minutes. The exit code is 1 where the preference does not rise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_datasets import all_garbled, pairs_of, recorded_events, write_dataset
from benchmarks.processes import ROOT
from benchmarks.schooled_model import make_schooled_model
from schemas.rows import Pair
from schemas.settings import TrainingSettings
from trainer.gate import judge

RESULT = Path(__file__).parent / "results" / "quality.json"

EVAL_FRACTION = 0.4

# For so small a model: a higher rate, and no quantisation, which is slow on a CPU. All else is as
# the recipe's defaults have it.
RECIPE = ("--device", "cpu", "--quantization", "none", "--learning-rate", "0.005",
          "--epochs", "3")  # fmt: skip

RESAMPLES = 10_000

Sides = np.ndarray  # (pairs, 2, 2): chosen and rejected; summed log-probability, tokens


@dataclass(frozen=True)
class Share:
    """Of the pairs, those in which the chosen side wins: before, after, and by how much it rose,
    with the interval that holds 95 of 100 resamples of the runs.
    """

    base: float
    candidate: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """On held-out pairs.

    Attributes:
        by_token: which side has the higher log-probability a token.
        by_sum: which side has the higher log-probability, where longer texts are less likely.
        reward: which side gained more a token; before, none did, which is a coin's half.
        chosen: log-probability of a token of the chosen side, before and after.
    """

    pairs: int
    runs: int
    by_token: Share
    by_sum: Share
    reward: Share
    chosen: tuple[float, float]
    gate: str


def measure_quality(dataset: Path, base: Path, output: Path, *flags: str) -> Quality:
    """Train, and hold the adapter against the base. Raises: CalledProcessError."""
    script = ROOT / "trainer" / "train_dpo"
    folders = ("--dataset", dataset, "--base-model", base, "--output", output)
    command = [sys.executable, script, *folders, *RECIPE, *flags]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (dataset / "eval.jsonl").read_bytes().splitlines()]
    before, after = likelihoods(base, output / "adapter", rows)
    result = json.loads((output / "result.json").read_text())
    verdict = judge(result, TrainingSettings())
    gate = "passed" if verdict.passed else verdict.told
    return quality_of(before, after, [row["run_id"] for row in rows], gate)


def quality_of(before: Sides, after: Sides, runs: list[str], gate: str) -> Quality:
    """Pure: the resamples are seeded."""
    gained = (after - before)[..., 0] / after[..., 1]
    none = np.full(len(runs), 0.5)
    return Quality(
        pairs=len(runs),
        runs=len(set(runs)),
        by_token=_share(_wins(_per_token(before)), _wins(_per_token(after)), runs),
        by_sum=_share(_wins(before[..., 0]), _wins(after[..., 0]), runs),
        reward=_share(none, _wins(gained), runs),
        chosen=(float(_per_token(before)[:, 0].mean()), float(_per_token(after)[:, 0].mean())),
        gate=gate,
    )


def _per_token(sides: Sides) -> np.ndarray:
    return np.asarray(sides[..., 0] / sides[..., 1])


def _wins(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[:, 0] > values[:, 1], float)


def _share(before: np.ndarray, after: np.ndarray, runs: list[str]) -> Share:
    """Runs are drawn, with all their pairs: those of one run are no independent witnesses."""
    gain = after - before
    low, high = np.percentile(_resampled(gain, runs), [2.5, 97.5])
    return Share(
        *(round(float(value), 4) for value in (before.mean(), after.mean(), gain.mean(), low, high))
    )


def _resampled(values: np.ndarray, runs: list[str]) -> np.ndarray:
    """Means over as many runs as there are, drawn with replacement."""
    places = {run: place for place, run in enumerate(dict.fromkeys(runs))}
    of = [places[run] for run in runs]
    sums, counts = np.bincount(of, weights=values), np.bincount(of)
    drawn = np.random.default_rng(0).integers(len(places), size=(RESAMPLES, len(places)))
    return np.asarray(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def likelihoods(base: Path, adapter: Path, rows: list[dict[str, Any]]) -> tuple[Sides, Sides]:
    """Of both sides of each pair, by the base alone and with the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def ids(messages: list[dict[str, str]], *, asks: bool = False) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def side(model: Any, row: dict[str, Any], name: str) -> tuple[float, int]:
        prompt, whole = (
            ids(row["prompt"], asks=True),
            torch.tensor([ids(row["prompt"] + row[name])]),
        )
        with torch.no_grad():
            each = torch.log_softmax(model(whole).logits[0, :-1], dim=-1)
        said = each.gather(-1, whole[0, 1:, None])[len(prompt) - 1 :]
        return float(said.sum()), len(said)

    def all_sides(model: Any) -> Sides:
        model.eval()
        return np.array([[side(model, row, name) for name in ("chosen", "rejected")]
                         for row in rows])  # fmt: skip

    before = all_sides(plain)
    return before, all_sides(PeftModel.from_pretrained(plain, adapter))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recorded", type=Path, required=True, help="JSON lines of events")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    pairs = pairs_of(recorded_events(arguments.recorded))
    with tempfile.TemporaryDirectory() as folder:
        found = _measure(Path(folder), {"mixed_code": pairs, "garbled": all_garbled(pairs)},
                         arguments.seeds)  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0 if all(each["by_token"]["low"] > 0 for each in found["mixed_code"].values()) else 1


def _measure(folder: Path, datasets: dict[str, list[Pair]], seeds: int) -> dict[str, Any]:
    base = folder / "base"
    make_schooled_model(base)
    found: dict[str, Any] = {"recipe": " ".join(RECIPE), "resamples": RESAMPLES}
    for name, pairs in datasets.items():
        dataset = write_dataset(folder / name, pairs, EVAL_FRACTION)
        found[name] = {}
        for seed in range(seeds):
            output = folder / f"{name}-{seed}"
            quality = measure_quality(dataset, base, output, "--seed", str(seed))
            found[name][f"seed {seed}"] = asdict(quality)
            print(f"{name}, seed {seed}: {quality}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
