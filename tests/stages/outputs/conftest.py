from collections.abc import Iterator
from pathlib import Path

import pytest

from services import servers
from writing import Place


@pytest.fixture(scope="session")
def valkey_port() -> Iterator[int]:
    """Port of a server that all tests of this folder share; each uses a key of its own."""
    with servers.running("valkey") as server:
        yield server.port


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
