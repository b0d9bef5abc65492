"""A published dataset once more, without the runs that were forgotten: beside it, under a new name.

The old one stays: what was trained on it says its name, and a pair_id stands in one of the numbered
datasets once, for ever. So the new one is none of them, and no trainer takes it by itself.
"""

from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pairstream.new_folder import folder_beside
from trainer.content import write_content
from trainer.cut import publish
from trainer.datasets import dataset_lines, verify_dataset
from trainer.forgotten import run_of
from trainer.layout import DataDir


def rewrite_dataset(data: DataDir, name: str, out: Path, forgotten: Container[str]) -> int:
    """Write `out`, whose parent is the old one; nothing is written where no pair would be left.

    Returns: how many pairs are left. Raises: PairstreamError when the old one is damaged.
    """
    old = data.datasets / name
    manifest = verify_dataset(old)
    left = (line for line in dataset_lines(old) if run_of(line).run_id not in forgotten)
    with folder_beside(out) as temporary:
        folder = temporary / "dataset"
        folder.mkdir()
        content = write_content(folder, left, manifest.settings)
        if content.pairs:
            rewritten = msgspec.structs.replace(
                manifest,
                name=out.name,
                parent=name,
                created_at=datetime.now(UTC),
                pairs=content.pairs,
                runs=content.runs,
                rules=content.rules,
                files=content.files,
                composition=content.composition,
                left_out={},
                waited=0,
            )
            publish(folder, out, rewritten)
    return content.pairs
