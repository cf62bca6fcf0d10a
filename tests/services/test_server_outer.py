"""A server that somebody else runs is used only where it loses nothing."""

from typing import Any

import pytest

from intelstream.errors import UnusableServer
from intelstream.runtime.server import check_outer
from intelstream.runtime.server.program import Version
from intelstream.transport.link import connect
from services import servers
from services.servers import RunningServer

GOOD = {"redis_version": "7.2.4", "valkey_version": "9.1.2", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
REFUSED = {
    "older than 7.0": ({"redis_version": "6.2.14"}, "it is redis 6.2.14, needed is 7.0 or newer"),
    "evicting": (GOOD | {"maxmemory_policy": "volatile-lru"}, "CONFIG SET maxmemory-policy noeviction"),
    "a replica": (GOOD | {"role": "slave"}, "name its primary"),
}
WARNED = {
    "nothing": (GOOD, {}, []),
    "no append-only file": (GOOD | {"aof_enabled": "0"}, {}, ["CONFIG SET appendonly yes"]),
    "never synced": (GOOD, {"appendfsync": "no"}, ["CONFIG SET appendfsync everysec"]),
    "synced each second": (GOOD, {"appendfsync": "everysec"}, []),
    "half transactions": ({"redis_version": "7.0.15", "aof_enabled": "1"}, {}, ["redis-check-aof --fix"]),
    "half transactions in Valkey": (GOOD | {"valkey_version": "8.1.0"}, {}, ["valkey 8.1.0 may replay"]),
}


@pytest.mark.parametrize(("info", "text"), REFUSED.values(), ids=REFUSED)
def test_a_server_that_would_lose_messages_is_refused_with_the_cure(info: dict[str, str], text: str) -> None:
    with pytest.raises(UnusableServer) as refused:
        check_outer(info)
    assert text in str(refused.value)


@pytest.mark.parametrize(("info", "config", "texts"), WARNED.values(), ids=WARNED)
def test_what_could_be_better_is_a_warning(info: dict[str, str], config: dict[str, str], texts: list[str]) -> None:
    warnings = check_outer(info, config)

    assert len(warnings) == len(texts)
    assert all(text in warning for text, warning in zip(texts, warnings, strict=True))


async def told(server: RunningServer) -> dict[str, str]:
    async with connect(server.address) as call:
        answer: bytes = await call("INFO")
    return dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)


async def test_both_servers_are_known_by_what_they_tell(any_redis: RunningServer) -> None:
    name = {"valkey": "valkey", "redis7": "redis"}[any_redis.kind]

    assert Version.told(await told(any_redis)).name == name
    assert all(name in text for text in check_outer(await told(any_redis)))


@pytest.mark.parametrize("kind", servers.KINDS)
async def test_a_server_that_evicts_is_refused_until_it_is_told_not_to(kind: str) -> None:
    with servers.running(kind, maxmemory_policy="allkeys-lru", appendonly="no") as server:
        with pytest.raises(UnusableServer, match="with allkeys-lru it deletes queues"):
            check_outer(await told(server))
        async with connect(server.address) as call:
            await call("CONFIG", "SET", "maxmemory-policy", "noeviction")

        assert any("CONFIG SET appendonly yes" in text for text in check_outer(await told(server)))


READS: dict[str, tuple[Any, ...]] = {
    "the same": ("valkey 9.1.2", "valkey 9.1.2", True),
    "an older one of its kind": ("valkey 9.1.2", "valkey 9.0.5", True),
    "another patch": ("valkey 9.1.1", "valkey 9.1.2", True),
    "a newer one of its kind": ("valkey 9.1.2", "valkey 9.2.0", False),
    "Valkey that of Redis 7.2": ("valkey 9.1.2", "redis 7.2.5", True),
    "Valkey that of Redis 7.4": ("valkey 9.1.2", "redis 7.4.0", False),
    "Redis that of Valkey": ("redis 7.0.15", "valkey 9.1.2", False),
    "Redis 8 that of Valkey": ("redis 8.2.1", "valkey 8.0.0", False),
}


@pytest.mark.parametrize(("program", "data", "reads"), READS.values(), ids=READS)
def test_who_reads_whose_files(program: str, data: str, reads: bool) -> None:  # noqa: FBT001 - a column of the table
    assert Version.parse(program).reads(Version.parse(data)) is reads
