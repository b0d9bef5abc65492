"""Where commands that make a folder make none."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli


@pytest.mark.parametrize(
    "command",
    [
        ["replay", "--from", "events"], ["replay", "--from", "pairs"],
        ["replay", "--from", "scored-rows", "--kind", "kto"],
        ["dataset", "export", "ds-000001", "--format", "trl"], ["models", "merge", "latest"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "out",
    [
        "data", "data/datasets", "data/datasets/ds-000009", "data/segments/000", "data/models/new",
        "data/x/../models", "link/ds-000009",
    ],
)  # fmt: skip
def test_nothing_is_written_among_what_is_the_trainers(
    command: list[str], out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "datasets").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/datasets")

    done = CliRunner().invoke(cli, [*command, "--out", out, "--data-dir", "data"])

    assert done.exit_code == 2
    assert f"--out: {out} " in done.output
    assert "./elsewhere" in done.output
    assert list((tmp_path / "data").rglob("*")) == [tmp_path / "data" / "datasets"]
