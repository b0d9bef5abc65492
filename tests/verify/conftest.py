"""A deployment whose writers can be made to err, on the embedded broker."""

from pathlib import Path

import pytest

from tests.verify.healthy import Damageable


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Damageable:
    return Damageable(embedded_broker, prefix, tmp_path / "data")
