"""Whether a server that somebody else runs may hold a pipeline."""

from collections.abc import Mapping
from typing import Final

from intelstream.errors import UnusableServer
from intelstream.runtime.server.program import OLDEST, Version

EVICTING: Final = (
    "CONFIG SET maxmemory-policy noeviction now, and `maxmemory-policy noeviction` in its configuration file (a "
    "managed server: on its settings page); with {policy} it deletes queues when its memory is full"
)


def check_outer(info: Mapping[str, str], config: Mapping[str, str] | None = None) -> list[str]:
    """Return what should be better about a foreign server: texts to warn with.

    `info` is its INFO, all sections. `config` is what it tells of `appendfsync`, where CONFIG GET is allowed.

    Raises:
        UnusableServer: it would lose messages, or lacks what the scripts need; the text names the cure.
    """
    version = Version.told(info)
    if version.number < OLDEST:
        raise UnusableServer(f"using the server: it is {version}, needed is 7.0 or newer; update it")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise UnusableServer(f"using the server: {EVICTING.format(policy=policy)}")
    if info.get("role", "master") != "master":
        raise UnusableServer("using the server: it is a replica, which takes no writes; name its primary")
    return _warnings(info, config or {}, version)


def _warnings(info: Mapping[str, str], config: Mapping[str, str], version: Version) -> list[str]:
    found: list[str] = []
    if info.get("aof_enabled") == "0":
        found.append(
            "the server keeps no append-only file, so what is in the pipeline is lost when it ends; "
            "CONFIG SET appendonly yes now, and `appendonly yes` in its configuration file"
        )
    elif config.get("appendfsync") == "no":
        found.append(
            "the server leaves it to the kernel when its append-only file reaches the disk, and half a minute of "
            "events is lost when power fails; CONFIG SET appendfsync everysec now, and in its configuration file"
        )
    if version.replays_torn_tail and info.get("aof_enabled") == "1":
        found.append(
            f"{version} may replay half a transaction at its second start after a crash; run "
            "`redis-check-aof --fix` before each start, or BGREWRITEAOF after a crash, before there is traffic"
        )
    return found
