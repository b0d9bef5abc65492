"""Prometheus and its tool, where the system has them."""

import shutil

import pytest

from tests.conftest import missing


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _program("prometheus")


@pytest.fixture(scope="session")
def promtool() -> str:
    return _program("promtool")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"needs {name}: install Prometheus (Debian's package is called prometheus)")
    return found
