from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from intelstream import config
from intelstream.config import host as hosts
from intelstream.errors import ConfigError
from intelstream.runtime.spec import HostSpec

MiB = 2**20
Host = Callable[..., HostSpec]


@pytest.fixture
def load_host(here: Path) -> Host:
    """Load a host file of this text, if any, for a pipeline file in `pipelines`."""

    def loaded(text: str | None = None, env: Mapping[str, str] | None = None, **given: Any) -> HostSpec:
        (here / "pipelines").mkdir(exist_ok=True)
        if text is not None:
            (here / "pipelines/intelstream.yaml").write_text(text, encoding="utf-8")
        arguments = {"path": None, "state_dir": None, "env": env or {}} | given
        return config.load_host(pipeline=Path("pipelines/pipeline.yaml"), **arguments)

    return loaded


def test_without_a_host_file_there_are_defaults(load_host: Host, here: Path) -> None:
    host = load_host()

    assert host.state_dir == here / "pipelines/var"
    assert (host.redis, host.server, host.plugins, host.secrets) == (None, "bundled", (), ())
    assert host.readable == host.writable == (here / "pipelines", here / "pipelines/var")
    assert 32 * MiB <= host.memory <= 4096 * MiB


def test_a_host_file_says_what_pipelines_may(load_host: Host, here: Path) -> None:
    text = """\
server: auto
memory: 256MiB
state_dir: state
plugins: [our_stages]
files:
  read: [inbox, /srv/feeds]
  write: out
  secrets: [/etc/intelstream/secrets]
"""
    host = load_host(text)

    assert (host.server, host.memory, host.plugins) == ("auto", 256 * MiB, ("our_stages",))
    assert host.state_dir == here / "pipelines/state"
    assert host.readable == (here / "pipelines/inbox", Path("/srv/feeds"))
    assert host.writable == (here / "pipelines/out",)
    assert host.secrets == (Path("/etc/intelstream/secrets"),)


def test_the_state_directory_is_that_of_the_option_then_of_the_environment_then_of_the_file(
    load_host: Host, here: Path
) -> None:
    env, text = {"INTELSTREAM_STATE_DIR": "of-env"}, "state_dir: of-file"

    assert load_host(text, env, state_dir=Path("of-option")).state_dir == here / "of-option"
    assert load_host(text, env).state_dir == here / "of-env"
    assert load_host(text).state_dir == here / "pipelines/of-file"


def test_another_file_may_be_named(load_host: Host, here: Path) -> None:
    (here / "other.yaml").write_text("memory: 64MiB", encoding="utf-8")

    assert load_host("memory: 128MiB", path=Path("other.yaml")).memory == 64 * MiB


def test_a_pipeline_called_intelstream_is_no_host_file(here: Path) -> None:
    path = here / "intelstream.yaml"
    path.write_text("stages: {}", encoding="utf-8")

    assert config.load_host(None, path, state_dir=None, env={}).plugins == ()


def test_the_address_of_a_server_may_hold_a_secret_that_is_not_shown(load_host: Host) -> None:
    host = load_host('redis: "redis://:${env:PASSWORD}@redis.example:6379/1"', {"PASSWORD": "s3cret"})

    assert host.redis == "redis://:s3cret@redis.example:6379/1"
    assert "s3cret" not in repr(host)


LIMITED = {
    "by a container": ("0::/\n", "groups/memory.max", 1024 * MiB, 256 * MiB),
    "by a service": ("0::/system.slice/x.service\n", "groups/system.slice/x.service/memory.max", 512 * MiB, 128 * MiB),
    "by what a service is in": ("0::/system.slice/x.service\n", "groups/system.slice/memory.max", 256 * MiB, 64 * MiB),
    "by the older kind of groups": (
        "5:devices:/\n4:memory:/x\n0::/\n",
        "groups/memory/x/memory.limit_in_bytes",
        256 * MiB,
        64 * MiB,
    ),
    "to next to nothing": ("0::/\n", "groups/memory.max", MiB, 32 * MiB),
}


@pytest.mark.parametrize(("own", "file", "limit", "expected"), LIMITED.values(), ids=LIMITED)
def test_memory_is_a_quarter_of_what_the_process_may_use(
    own: str, file: str, limit: int, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own, encoding="ascii")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{limit}\n", encoding="ascii")

    assert hosts.default_memory(tmp_path / "own", tmp_path / "groups") == expected


def test_memory_without_a_limit_is_4_gib_at_most(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/\n", encoding="ascii")
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")

    assert 32 * MiB <= hosts.default_memory(tmp_path / "own", tmp_path) <= 4096 * MiB


FAULTS = {
    "no such key": ("memry: 1GiB", "intelstream.yaml:1:1: memry: unknown name; did you mean 'memory'?"),
    "too little": ("memory: 1MiB", "intelstream.yaml:1:1: memory: expected 32MiB at least"),
    "no size": ("memory: 1GB", "memory: expected a size such as 256MiB"),
    "no server": ("server: bundeld", "or the whole path of a server; did you mean 'bundled'?"),
    "no address": ("redis: localhost:6379", "redis: expected a URL such as redis://host:6379/0"),
    "no port": ("redis: redis://host:port", "redis: expected a URL with a port"),
    "two servers": ("redis: redis://host\nserver: auto", "give `redis` or `server`, not both"),
    "no package": ("plugins: [our-stages]", "plugins.0: expected the name of a package"),
    "no such directories": ("files: {wirte: x}", "files.wirte: unknown name; did you mean 'write'?"),
    "a list": ("[1]", "expected a mapping"),
    "no YAML": ("memory: [", "intelstream.yaml:1:10: "),
    "a secret that is not there": ('redis: "redis://${env:NONE}"', "redis: NONE is not set in the environment"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_in_a_host_file_is_told(text: str, said: str, load_host: Host) -> None:
    with pytest.raises(ConfigError) as caught:
        load_host(text)

    assert len(caught.value.faults) == 1
    assert said in str(caught.value)


def test_a_host_file_that_is_named_and_not_there_is_a_fault(load_host: Host) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml:1:1: reading the file: no such file or directory"):
        load_host(path=Path("nowhere.yaml"))


def test_the_state_directory_is_beside_the_pipeline_file_wherever_the_command_is_given(
    load_host: Host, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_host()
    monkeypatch.chdir("/")

    assert config.load_host(None, here / "pipelines/a.yaml", state_dir=None, env={}).state_dir == here / "pipelines/var"
