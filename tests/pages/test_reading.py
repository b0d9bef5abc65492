"""How pages are taken apart, and what a session notices."""

from pathlib import Path

import pytest

from tests.pages.reading import Saved, Typed, commands_of, steps_of, unmarked_commands
from tests.pages.session import Session

PAGE = """\
# Title

Save this as `a.py`.

```python
print(1)
```

## First

   ```sh
   python a.py   # prints
   ```

```console
$ pairstream status
topics
$ kill %1
```

```toml
# pairstream.toml
epochs = 2
```

```toml
[training]
```
"""


def test_a_page_is_what_is_typed_and_saved_in_order() -> None:
    assert list(steps_of(PAGE)) == [
        Saved("Title", "a.py", "print(1)\n"),
        Typed("First", "python a.py", ""),
        Typed("First", "pairstream status", "topics\n"),
        Typed("First", "kill %1", ""),
        Saved("First", "pairstream.toml", "# pairstream.toml\nepochs = 2\n"),
    ]


@pytest.mark.parametrize(
    ("block", "commands"),
    [
        ("a  # why\n\n# b\nc\n", ["a", "c"]),
        ("a \\\n  b\nc", ["a \\\n  b", "c"]),
        ("for N in 1 2; do\n  a $N\ndone\nb", ["for N in 1 2; do\n  a $N\ndone", "b"]),
    ],
)
def test_a_block_is_its_whole_commands(block: str, commands: list[str]) -> None:
    assert list(commands_of(block)) == commands


def test_commands_in_other_blocks_are_found() -> None:
    text = "```\nagents ──► run\npairstream status\n```\n\n```sh\npairstream status\n```\n"

    assert unmarked_commands(text) == ["pairstream status"]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, tmp_path / "logs", {"PATH": "/usr/bin:/bin"})


def test_commands_build_on_one_another(session: Session, tmp_path: Path) -> None:
    with session:
        session.run("mkdir inner && cd inner\nexport NAME=x")
        assert session.run("pwd; echo $NAME; false") == (1, f"{tmp_path}/inner\nx\n")
        session.start("echo $NAME is up; exec sleep 100", lambda told: told == "x is up\n")


def test_what_ends_before_it_is_up_is_told(session: Session) -> None:
    with session, pytest.raises(AssertionError, match="ended before it was up"):
        session.start("echo no; exit 0", lambda told: "up" in told)


def test_what_goes_on_must_end_well(session: Session) -> None:
    with pytest.raises(AssertionError, match="ended with 3"), session:
        session.start("echo up; exit 3", lambda told: "up" in told)
