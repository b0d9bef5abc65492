"""Datasets for what is measured of trainings, made of events by the pure functions."""

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec

from benchmarks.load import Event
from benchmarks.peers.job import rows_of
from schemas.rows import GarbleRequest, Pair, encode, parse_pair
from schemas.topics import PAIRS
from streams.garbling import corrupt, garbled_pair
from trainer.content import write_content
from trainer.layout import MANIFEST
from trainer.selection import CutSettings


def recorded_events(path: Path) -> list[Event]:
    """As they were recorded, run by run."""
    lines = path.read_bytes().splitlines()
    return [(json.loads(line)["run_id"].encode(), line) for line in lines]


def pairs_of(events: Iterable[Event], rule: str = "mixed_code") -> list[Pair]:
    """The pairs of one rule that the runs give, in the order of a dataset."""
    found = [
        parse_pair(value)
        for _, run in groupby(events, key=lambda event: event[0])
        for topic, value in rows_of(value for _, value in run)
        if topic is PAIRS
    ]
    return sorted((p for p in found if p.rule == rule), key=lambda pair: pair.pair_id)


def all_garbled(pairs: Iterable[Pair]) -> list[Pair]:
    """The same good sides, each against a spoilt version of itself."""
    return [
        garbled_pair(GarbleRequest("code", msgspec.structs.replace(pair, rejected=[])), corrupt)
        for pair in pairs
    ]


def write_dataset(folder: Path, pairs: Iterable[Pair], eval_fraction: float) -> Path:
    """What a training script reads: both files of pairs, and a manifest with their hashes."""
    folder.mkdir(parents=True)
    lines = [encode(pair) + b"\n" for pair in pairs]
    content = write_content(folder, lines, CutSettings(eval_fraction=eval_fraction))
    (folder / MANIFEST).write_bytes(msgspec.json.encode({"files": content.files}))
    return folder
