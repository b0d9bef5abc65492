"""What is installed, and how it is set: the pinned packages, the client, the settings."""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from pairstream.doctor.findings import Finding, from_error, note, ok, wrong
from schemas.errors import PairstreamError
from streams.self_check import PINNED, check_installation

CLIENT = "pairstream-client"


def check_packages() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    ours = version("pairstream")
    try:
        check_installation()
    except PairstreamError as error:
        yield from_error("packages", error)
    else:
        pins = ", ".join(f"{package} {pinned}" for package, pinned in PINNED.items())
        yield ok("packages", f"pairstream {ours} on Python {python}; {pins}")
    yield client_finding(ours, _version_of(CLIENT))


def client_finding(service: str, client: str | None) -> Finding:
    """The two are released together; older clients' events are taken in all the same. Pure."""
    if client is None:
        return ok("client", f"{CLIENT} is not installed here, nor needs to be")
    if client != service:
        return note(
            "client",
            f"{CLIENT} is {client}, the service {service}",
            f"install the {CLIENT} that came with this service",
        )
    return ok("client", f"{CLIENT} {client}")


def settings_findings(problems: Sequence[str]) -> Iterator[Finding]:
    """Pure."""
    if not problems:
        yield ok("settings", "file and environment hold no misspelt one")
    for problem in problems:
        yield wrong(
            "settings",
            problem,
            "correct it where it is set, or remove it; the checks here go by its default",
        )


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
