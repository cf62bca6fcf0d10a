import os
from datetime import UTC, datetime

import pytest

from intelstream import testing


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"INTELSTREAM_VECTORS", "INTELSTREAM_REQUIRE_SERVICES"}  # they steer the tests, not the program
    for name in [name for name in os.environ if name.startswith("INTELSTREAM_") and name not in kept]:
        monkeypatch.delenv(name)


@pytest.fixture
def frozen() -> testing.World:
    return testing.World(now=datetime(2024, 3, 6, tzinfo=UTC))
