"""A deployment of its own for each test, on the embedded broker."""

from pathlib import Path

import pytest

from tests.commands.deployment import Deployment


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")
