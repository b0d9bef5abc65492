"""Refuses to run on other versions than those whose private parts the worker replaces."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from schemas.errors import PairstreamError

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

# Without the compiled one, Faust acknowledges events that it skipped.
REQUIRED_MODULES = ("faust._cython.streams", "cramjam")


def check_installation() -> None:
    """Raises: PairstreamError that names what is wrong and how to install what is right."""
    for package, wanted in PINNED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "missing"
        if found != wanted:
            raise PairstreamError(
                f"the worker needs {package} {wanted}, but it is {found}: "
                f"pip install {package}=={wanted}"
            )
    for module in REQUIRED_MODULES:
        try:
            import_module(module)
        except ImportError as error:
            raise PairstreamError(
                f"the worker needs {module}, which cannot be imported ({error}): "
                "pip install --force-reinstall --only-binary :all: pairstream"
            ) from error
