"""Pipelines as text, loaded from a directory of their own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from intelstream import config
from intelstream.config import Loaded
from intelstream.errors import ConfigError

Load = Callable[..., Loaded]
Faults = Callable[..., list[str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a fresh directory, so that faults show short names of files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(here: Path) -> Load:
    """Load a pipeline file of this text, with the files and the host file that are given beside it."""

    def loaded(
        text: str | bytes,
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        host: str | None = None,
    ) -> Loaded:
        for name, content in {**(files or {}), **({"intelstream.yaml": host} if host else {})}.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        path = Path("pipeline.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        spec = config.load_host(None, path, state_dir=None, env={})
        return config.load(path, spec, env=env or {})

    return loaded


@pytest.fixture
def faults(load: Load) -> Faults:
    """Return the faults, warnings too, of a pipeline file of this text."""

    def found(text: str | bytes, **given: Any) -> list[str]:
        try:
            return list(map(str, load(text, **given).warnings))
        except ConfigError as error:
            return list(map(str, error.faults))

    return found
