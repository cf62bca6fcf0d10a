from collections.abc import Iterator

import pytest

from services import servers


@pytest.fixture(scope="session")
def valkey_port() -> Iterator[int]:
    """Port of a server that all tests of this folder share; each uses a key of its own."""
    with servers.running("valkey") as server:
        yield server.port
