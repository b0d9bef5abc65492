"""Which pairstream does something: its version and, in a checkout, its git revision."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

GIT_SECONDS = 10.0

CHECKOUT = Path(__file__).parents[1]


class MadeBy(Struct, frozen=True):
    """`revision` is null where it is installed from a package, or git is not there; `changed`
    says that the checkout held more than that revision.
    """

    version: str
    revision: str | None = None
    changed: bool = False

    @property
    def told(self) -> str:
        """For people, on one line."""
        if self.revision is None:
            return self.version
        return f"{self.version}, revision {self.revision}{' and changes' if self.changed else ''}"


def made_by(checkout: Path = CHECKOUT) -> MadeBy:
    """Of this installation, as it is now."""
    number = version("pairstream")
    # A package may lie in an environment within somebody else's repository.
    if not (checkout / ".git").exists():
        return MadeBy(number)
    revision = _git(checkout, "rev-parse", "HEAD")
    if revision is None:
        return MadeBy(number)
    return MadeBy(number, revision.strip(), changed=_git(checkout, "status", "--porcelain") != "")


def _git(checkout: Path, *words: str) -> str | None:
    """None where there is no git, or it does not want to."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *words],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
