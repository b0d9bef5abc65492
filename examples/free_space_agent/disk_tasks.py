"""The tasks: small disks full of junk, among it files that must survive. One number, one disk."""

import hashlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DAY_SECONDS = 86_400

# What may go, in the words of the prompt. The tasks below are made to fit it.
RULES = (
    "Junk: files in .cache folders; rotated logs (NAME.log.NUMBER); second copies of a file; "
    "files in tmp/ older than 7 days; releases in srv/ other than the newest. "
    "All else must stay where it is, as it is."
)

_USERS = ("ana", "ben", "eva", "lee")
_SERVICES = ("shop", "mail", "wiki", "chat")


@dataclass(frozen=True)
class File:
    """A file of a disk; `path` is relative to the disk's folder."""

    path: str
    content: bytes
    age_days: int = 100


@dataclass(frozen=True)
class Task:
    """A disk to tidy up. `precious` files must survive, each at its place or as a copy there."""

    task_id: str
    junk: tuple[File, ...]
    precious: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        return self.junk + self.precious

    @cached_property
    def _places(self) -> dict[bytes, list[str]]:
        """Where each content lies: any one of them will do."""
        places: dict[bytes, list[str]] = {}
        for file in self.files:
            places.setdefault(_digest(file.content), []).append(file.path)
        return places

    def build(self, folder: Path) -> None:
        """Write the disk into an empty folder."""
        now = time.time()
        for file in self.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            changed = now - file.age_days * DAY_SECONDS
            os.utime(path, (changed, changed))

    def bytes_freed(self, folder: Path) -> int:
        """How many bytes the disk holds less than at first; below 0 when it has grown."""
        # A folder that nobody may enter still takes its room.
        for entered, _, _ in os.walk(folder):
            for child in os.scandir(entered):
                if child.is_dir(follow_symlinks=False):
                    Path(child.path).chmod(0o700)
        return sum(len(file.content) for file in self.files) - _bytes_in(folder)

    def damage(self, folder: Path) -> str | None:
        """The first precious file whose content is gone from all of its places, or None."""
        for file in self.precious:
            digest = _digest(file.content)
            if not any(_holds(folder / place, digest) for place in self._places[digest]):
                return file.path
        return None


def make_task(number: int) -> Task:
    """Make the disk of this number: the same one always, but for the clock that ages refer to."""
    rng = random.Random(f"disk {number}")  # noqa: S311 - makes test data, guards nothing
    user, service = rng.choice(_USERS), rng.choice(_SERVICES)
    home = f"home/{user}"
    photos = [
        File(f"{home}/photos/{name}.jpg", _bytes(rng, 8, 15))
        for name in rng.sample(("lake", "cat", "city", "party", "snow", "bike"), 4)
    ]
    junk = (
        *_caches(rng, home),
        *_rotated_logs(rng, service),
        *_copies(rng, home, photos),
        *_old_temporary_files(rng),
    )
    releases = _releases(rng, service)
    return Task(
        f"free-space-{number:04d}",
        junk=(*junk, *(file for release in releases[:-1] for file in release)),
        precious=(*photos, *_precious(rng, home, service), *releases[-1]),
    )


def _caches(rng: random.Random, home: str) -> Iterator[File]:
    for number in range(rng.randint(2, 5)):
        yield File(f"{home}/.cache/pip/wheel-{number}.whl", _bytes(rng, 6, 20))
    for number in range(rng.randint(2, 5)):
        yield File(f"{home}/.cache/thumbnails/{number}.png", _bytes(rng, 1, 4))


def _rotated_logs(rng: random.Random, service: str) -> Iterator[File]:
    for name in (service, "cron"):
        for number in range(1, rng.randint(3, 5)):
            yield File(f"var/log/{name}.log.{number}", _log(rng, 150), age_days=number * 3)


def _copies(rng: random.Random, home: str, photos: list[File]) -> Iterator[File]:
    same_name, renamed, twice = rng.sample(photos, 3)
    for photo in (same_name, twice):
        yield File(f"{home}/downloads/{Path(photo.path).name}", photo.content)
    for photo in (renamed, twice):
        yield File(f"{home}/downloads/copy-of-{Path(photo.path).name}", photo.content)


def _old_temporary_files(rng: random.Random) -> Iterator[File]:
    for number in range(rng.randint(1, 3)):
        age = rng.randint(8, 60)
        yield File(f"tmp/upload-{number}.part", _bytes(rng, 4, 12), age)
    yield File("tmp/export.csv", _bytes(rng, 2, 8), rng.randint(8, 60))
    yield File("tmp/convert/frames.raw", _bytes(rng, 8, 16), rng.randint(8, 60))


def _releases(rng: random.Random, service: str) -> list[tuple[File, ...]]:
    """Oldest first. They go past 1.9, where the orders of texts and of numbers part."""
    return [
        tuple(
            File(f"srv/{service}/releases/1.{minor}.0/{name}", _bytes(rng, 3, 10))
            for name in ("app.bin", "app.debug")
        )
        for minor in range(rng.randint(7, 8), rng.randint(11, 12))
    ]


def _precious(rng: random.Random, home: str, service: str) -> Iterator[File]:
    yield File(f"{home}/thesis.odt", _bytes(rng, 8, 16))
    yield File(f"{home}/geocaches.gpx", _bytes(rng, 1, 2))
    page_bytes = rng.randint(4, 8) * 1024
    for number in (1, 2):  # two scans of one size, which are no copies
        yield File(f"{home}/scans/page-{number}.tif", rng.randbytes(page_bytes))
    for name in (service, "cron"):
        yield File(f"var/log/{name}.log", _log(rng, 40), age_days=0)
    yield File(f"srv/{service}/data.db", _bytes(rng, 8, 16), age_days=0)
    yield File("tmp/session.lock", _bytes(rng, 1, 1), rng.randint(0, 5))


def _bytes(rng: random.Random, least_kib: int, most_kib: int) -> bytes:
    return rng.randbytes(rng.randint(least_kib * 1024, most_kib * 1024))


def _log(rng: random.Random, lines: int) -> bytes:
    return "".join(
        f"12:{rng.randrange(60):02d} GET /item/{rng.randrange(1000)} 200\n" for _ in range(lines)
    ).encode()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _holds(path: Path, digest: bytes) -> bool:
    try:
        return not path.is_symlink() and _digest(path.read_bytes()) == digest
    except OSError:  # gone, no file any more, or not readable: all of it is damage
        return False


def _bytes_in(folder: Path) -> int:
    """Sizes of all files; names that share a file count once, links to elsewhere not at all."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            facts = (Path(parent) / name).lstat()
            sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())
