"""Merges an adapter into its base, in a process that trains nothing: `__main__.py merge`.

Exit codes: 0 done, 2 wrong usage, 10 bad base model or adapter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from .command import to_the_end
from .files import make_readable
from .rounds import CONFIG, WEIGHTS, merge_into_base

NOT_OF_A_MODEL = {WEIGHTS, CONFIG, "README.md"}


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__, prog="merge")
    parser.add_argument("--base-model", type=Path, required=True, help="unquantised")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder that is not there")
    args = parser.parse_args(sys.argv[2:])
    if args.output.exists():
        parser.error(f"--output: {args.output} is there already")
    to_the_end(lambda: merge(args.base_model, args.adapter, args.output))


def merge(base: Path, adapter: Path, output: Path) -> None:
    """In full precision, saved in the base's, with the tokenizer that the adapter was trained with.

    Raises: Refused, also where the base's weights are rounded: most of the adapter would be lost.
    """
    merge_into_base(base, adapter, output)
    # The tokenizer and its chat templates.
    ignore = shutil.ignore_patterns(*NOT_OF_A_MODEL)
    shutil.copytree(adapter, output, ignore=ignore, dirs_exist_ok=True)
    make_readable(output)
