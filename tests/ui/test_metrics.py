"""What a training leaves as it goes, as curves and the end of a log."""

from pathlib import Path

from pairstream.ui.metrics import LOG_LINES, charts, read_log, read_metrics
from tests.ui.sites import metrics_line


def test_metrics_that_are_half_written_are_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        metrics_line(1, 9, loss=0.7) + "no line\n[]\n" + metrics_line(2, 9, loss=0.5)[:9]
    )

    assert [row["step"] for row in read_metrics(path)] == [1]
    assert read_metrics(tmp_path / "nowhere") == []


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
