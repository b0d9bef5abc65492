"""The training image's build context, as values: what is in it decides its tag."""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from schemas.errors import PairstreamError
from trainer.layout import content_of, make_folder, write_durably

REPOSITORY = "pairstream-training"
IMAGE_LABEL = "pairstream.training-image"

ENV_FILE = "image.env"
SCRIPT_FOLDER = "train_dpo"
SCRIPT = f"{SCRIPT_FOLDER}/__main__.py"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class BuildContext:
    """The files of one image by name."""

    files: dict[str, bytes]

    @property
    def hash(self) -> str:
        """Of names and contents, whatever their times and owners."""
        return hashlib.sha256(self.tar()).hexdigest()[:12]

    @property
    def tag(self) -> str:
        return f"{REPOSITORY}:{self.hash}"

    def tar(self) -> bytes:
        """The same files give the same bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder in sorted({str(PurePosixPath(name).parent) for name in self.files} - {"."}):
                info = tarfile.TarInfo(folder)  # or the engine would make it in its own way
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            for name, content in sorted(self.files.items()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                info.mode = 0o644
                tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    def write(self, folder: Path) -> None:
        """Lay the files out with an env file, so that anybody can build the same image by hand.

        Each is replaced at once: a process may be reading the one that is there.
        """
        _make_own_folder(folder)
        variables = {
            "PAIRSTREAM_TRAINING_IMAGE": self.tag,
            "PAIRSTREAM_TRAINING_IMAGE_HASH": self.hash,
            "PAIRSTREAM_TRAINING_IMAGE_LABEL": f"{IMAGE_LABEL}={self.hash}",
        }
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        for name, content in {**self.files, ENV_FILE: lines.encode()}.items():
            path = folder / name
            _make_own_folder(path.parent)
            write_durably(path, content)


def _make_own_folder(folder: Path) -> None:
    """In place of it, a training may have left a link, or a file."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    make_folder(folder)


def training_context() -> BuildContext:
    """What this installation trains with: from the package, or from the checkout."""
    package = Path(str(files("trainer")))
    packaged = package / "training_image"
    recipe = packaged if packaged.is_dir() else package.parent / "docker" / "training"
    return BuildContext(
        {
            "Dockerfile": (recipe / "Dockerfile").read_bytes(),
            REQUIREMENTS: (recipe / REQUIREMENTS).read_bytes(),
            **{
                f"{SCRIPT_FOLDER}/{module.name}": module.read_bytes()
                for module in sorted((package / SCRIPT_FOLDER).glob("*.py"))
            },
        }
    )


def kept_context(folder: Path, tag: str) -> BuildContext | None:
    """What `write` has laid out there, of this tag; None where there is none.

    A training may write there: what it changed would be built, and run.

    Raises: PairstreamError where it is another one.
    """
    names = ("Dockerfile", REQUIREMENTS, *sorted(
        str(path.relative_to(folder)) for path in (folder / SCRIPT_FOLDER).glob("*.py")
    ))  # fmt: skip
    try:
        context = BuildContext({name: content_of(folder / name) for name in names})
    except FileNotFoundError:
        return None
    if context.tag != tag:
        raise PairstreamError(
            f"{folder} is not what {tag} was made of: the kept script was changed, and does not "
            "run; remove the folder to train with the script of this installation"
        )
    return context
