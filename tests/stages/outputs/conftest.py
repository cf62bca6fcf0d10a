from collections.abc import Iterator

import pytest

import loopback
import redises


@pytest.fixture(scope="session")
def valkey_port() -> Iterator[int]:
    """Port of a server that all tests of this folder share; each uses a key of its own."""
    [port] = loopback.free_ports()
    with redises.running(redises.valkey_program(), "--port", str(port)):
        yield port
