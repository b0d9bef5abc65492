"""What a training leaves as it goes, as curves and the end of a log."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pairstream.ui.metrics import LOG_LINES, charts, read_end, read_log, read_metrics
from tests.trainer.left_in_place import LEFT_IN_PLACE
from tests.ui.sites import metrics_line


def test_metrics_that_are_half_written_are_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    damaged = b'no line\n[]\n{"step":"\xff"}\n' + b"[" * 5000 + b"\n"
    path.write_bytes(
        metrics_line(1, 9, loss=0.7).encode() + damaged + metrics_line(2, 9, loss=0.5)[:9].encode()
    )

    assert [row["step"] for row in read_metrics(path)] == [1]
    assert read_metrics(tmp_path / "nowhere") == []


@pytest.mark.parametrize("place", LEFT_IN_PLACE)
def test_what_a_training_left_in_place_of_a_file_counts_as_not_there(
    tmp_path: Path, place: Callable[[Path], None]
) -> None:
    path = tmp_path / "left"
    place(path)

    assert (read_end(path, 9), read_log(path), read_metrics(path)) == (b"", "", [])


def test_figures_that_no_chart_could_scale_are_left_out() -> None:
    rows = [{"step": step, "loss": loss} for step, loss in ((1, 0.7), (2, 10**400), (3, -1e200))]

    [(_, [series], _)] = charts(rows)

    assert list(series.points) == [(1, 0.7)]


def test_curves_are_those_that_the_metrics_have() -> None:
    rows = [
        {"step": 1, "loss": 0.7, "rewards/margins": None},
        {"step": 2, "loss": 0.5, "eval_loss": 0.6},
    ]

    [(title, series, _)] = charts(rows)

    assert title == "Loss"
    assert [(each.name, list(each.points)) for each in series] == [
        ("training", [(1, 0.7), (2, 0.5)]),
        ("held out", [(2, 0.6)]),
    ]


def test_of_a_log_the_newest_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "training.log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(10_000)) + b"\xff end")

    lines = read_log(path).splitlines()

    assert (len(lines), lines[-1]) == (LOG_LINES, "\ufffd end")
    assert read_log(tmp_path / "nowhere") == ""
