"""Stands for the training script, with its flags and files but without torch.

It appends a line to STARTS when it starts and one when it ends, so that a test can count.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("--dataset", "--base-model", "--base-model-name", "--output", "--device"):
        parser.add_argument(flag)
    parser.add_argument("--init-adapter")
    parser.add_argument("--starts", type=Path)
    parser.add_argument("--code", type=int, default=0)
    parser.add_argument("--result", default=json.dumps({"final_loss": 0.5}))
    parser.add_argument("--until", type=Path, help="wait until this file is there")
    parser.add_argument("--killed", action="store_true", help="by itself")
    parser.add_argument("--stubborn", action="store_true", help="does not end when asked to")
    args, recipe = parser.parse_known_args()
    if "--no-such-flag" in recipe:
        parser.error("unrecognized arguments: --no-such-flag")
    asked = signal.SIG_IGN if args.stubborn else lambda *_: os._exit(143)
    signal.signal(signal.SIGTERM, asked)
    note(args.starts, f"started {os.getpid()} {' '.join(sorted(os.environ))}")
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while args.until and not args.until.exists():
        time.sleep(0.02)
    if args.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    output = Path(args.output)
    (output / "checkpoints").mkdir(exist_ok=True)
    (output / "adapter").mkdir(exist_ok=True)
    (output / "adapter" / "adapter_model.safetensors").write_bytes(one_number())
    (output / "metrics.jsonl").write_text('{"step":1,"steps":1,"loss":0.5}\n')
    (output / "result.json").write_text(args.result)
    if args.init_adapter:
        sys.stdout.write(f"began with {args.init_adapter}\n")
    sys.stdout.write(f"trained {args.dataset} {args.base_model_name}\n")
    note(args.starts, "ended")
    return args.code


def one_number() -> bytes:
    """A file of safetensors with one tensor."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
