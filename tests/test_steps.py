"""Every step that outlives a worker or a trainer is followed by a crash point, where tests kill it.

A new step without a point fails here, until it has one or stands among `WITHOUT` with a reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash_points import FOLDERS

# Calls by which something outlives the process, or others see it.
STEPS = {
    "ack", "clean_up", "on_step", "publish", "rename", "rmtree", "send", "start", "symlink_to",
    "unlink", "write_durably", "_commit",
}  # fmt: skip

POINT = "crash_point"

PART = "a part of a step: who calls it has the point"
SWEPT = "it clears away what a death left, at each start, and does so again after the next"
SCRIPT = "of a training's process, which is killed as a whole (tests/trainer/test_process_kills.py)"

WITHOUT = {
    "streams/garbler_child.py main: start": "a thread of a process that keeps nothing",
    "streams/pipeline.py _acknowledge: ack": "outlives nothing before the commit, which has points",
    "streams/redaction.py _redact: start": "where a match starts",
    "streams/worker.py _schedule_shutdown: start": "a timer",
    "trainer/archive.py archive: write_durably": PART,
    "trainer/content.py finish_sides: rename": PART,
    "trainer/base_model.py _link_or_copy: replace": "of a copy, made again where it is missing",
    "trainer/base_model.py _link_or_copy: unlink": "what is left where the copy failed",
    "trainer/cancelling.py wish_to_cancel: write_durably": "a person's command, to be given again",
    "trainer/cut.py cut_dataset: publish": PART,
    "trainer/cut.py remove_unpublished: rmtree": SWEPT,
    "trainer/docker_launcher.py start: start": PART,
    "trainer/forgotten.py mark_dataset: write_durably": "written again by each start of a trainer",
    "trainer/forgotten.py remember_forgotten: write_durably": "the command's, not the trainer's",
    "trainer/image.py _make_own_folder: unlink": "a link that a training has left in the way",
    "trainer/image.py write: write_durably": "written again by each start of the training",
    "trainer/index.py __init__: unlink": SWEPT,
    "trainer/index.py _new_ids: rmtree": SWEPT,
    "trainer/known_ids.py __init__: unlink": SWEPT,
    "trainer/known_ids.py _load: unlink": SWEPT,
    "trainer/latest.py _point: symlink_to": "a link beside the real one, until it is renamed",
    "trainer/latest.py _point: unlink": "the same link, of a death before",
    "trainer/layout.py open_no_link: unlink": "a link that a training has left in the way",
    "trainer/layout.py sync_file: unlink": PART,
    "trainer/layout.py write_durably: replace": PART,
    "trainer/process_launcher.py _install: rmtree": "made again until it is whole",
    "trainer/process_launcher.py clean_up: rmtree": PART,
    "trainer/process_launcher.py clean_up: unlink": PART,
    "trainer/segments.py remove_unfinished: unlink": SWEPT,
    "trainer/service.py run_trainer: start": "the consumer's, which begins where the files end",
    "trainer/source.py _write: write_durably": "before anything that is relied on",
    "trainer/source.py directory_id: write_durably": "before anything that is relied on",
    "trainer/supervise.py write_exit_code: replace": SCRIPT,
    "trainer/train_dpo/recorder.py make_recorder: unlink": SCRIPT,
    "trainer/train_dpo/recorder.py on_save: unlink": SCRIPT,
    "trainer/train_dpo/files.py save_adapter: unlink": SCRIPT,
    "trainer/train_dpo/rounds.py merge_into_base: rename": SCRIPT,
    "trainer/train_dpo/rounds.py merge_into_base: rmtree": SCRIPT,
    "trainer/train_dpo/rounds.py merge_into_base: unlink": SCRIPT,
    "trainer/train_dpo/training.py train_to_the_end: rmtree": SCRIPT,
    "trainer/train_dpo/files.py write_result: replace": SCRIPT,
    "trainer/starting.py start: start": PART,
    "trainer/starting.py start: unlink": PART,
    "trainer/steps.py forget_wait: unlink": "for people: nothing is decided by it",
    "trainer/steps.py note_wait: replace": "for people: nothing is decided by it",
    "trainer/training.py _remove_checkpoints: rmtree": PART,
    "trainer/training.py tell: on_step": PART,
    "trainer/training.py run_training: publish": PART,
    "trainer/training_manifest.py _write: write_durably": PART,
    "trainer/trainings.py __enter__: start": "a thread",
}


def steps_without_a_point(folder: Path) -> Iterator[str]:
    for source in sorted(folder.rglob("*.py")):
        for function in ast.walk(ast.parse(source.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for step in _uncovered(function):
                    yield f"{source.relative_to(folder.parent)} {function.name}: {step}"


def _uncovered(function: ast.AST) -> Iterator[str]:
    """Steps that are followed by another one, or by the end, before a point."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    last = None
    for call in sorted(calls, key=lambda node: (node.end_lineno, node.end_col_offset)):
        name = _step(call)
        if name == POINT:
            last = None
        elif name is not None:
            if last is not None:
                yield last
            last = name
    if last is not None:
        yield last


def _step(call: ast.Call) -> str | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    # A path's takes one argument, a text's two, a struct's others by name.
    if name == "replace" and len(call.args) == 1 and not call.keywords:
        return name
    return name if name in STEPS or name == POINT else None


def test_every_step_has_a_crash_point_behind_it() -> None:
    found = {step for folder in FOLDERS for step in steps_without_a_point(folder)}

    assert found == WITHOUT.keys()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("path.rename(a)", ["rename"]),
        ("path.rename(a)\n    crash_point('x')", []),
        ("crash_point('x')\n    path.rename(a)", ["rename"]),
        ("path.rename(a)\n    path.unlink()\n    crash_point('x')", ["rename"]),
        ("path.replace(a)", ["replace"]),
        ("text.replace('a', 'b')\n    replace(struct, a=1)", []),
    ],
)
def test_a_step_without_a_point_is_found(body: str, found: list[str]) -> None:
    [function] = ast.parse(f"def step():\n    {body}\n").body

    assert list(_uncovered(function)) == found
