"""Puts secrets in the place of `${env:NAME}` and `${file:/path}`, and keeps account of where they stand."""

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Place
from intelstream.sdk.types import below

REFERENCE: Final = re.compile(r"\$?\$\{([^{}]*)\}")
LARGEST: Final = 65_536  # bytes of a file with a secret
FORMS: Final = "expected ${env:NAME} or ${file:/path}; `$${` stands for `${`"


@dataclass(slots=True)
class Secrets:
    """What stands for a secret, in files of one directory. `values` are the secrets that were given out."""

    faults: Faults
    env: Mapping[str, str]
    directory: Path
    allowed: Iterable[Path]
    values: set[str] = field(default_factory=set[str])

    def resolved(self, value: Any, place: Place) -> Any:
        """Return a value with its secrets; where one cannot be had there is a fault."""
        match value:
            case str() if "${" in value:
                return self._text(value, place)
            case list():
                return [self.resolved(one, (*place, n)) for n, one in enumerate(value)]
            case dict():
                return {name: self.resolved(one, (*place, name)) for name, one in value.items()}
            case _:
                return value

    def hidden(self, place: Place) -> frozenset[str]:
        """Return the parameters below a place that hold a secret."""
        depth = len(place)
        return frozenset(str(at[depth]) for at in self.faults.secrets if at[:depth] == place and len(at) > depth)

    def _text(self, text: str, place: Place) -> str:
        parts: list[str] = []

        def put(found: re.Match[str]) -> str:
            if found[0].startswith("$$"):
                return found[0][1:]
            parts.append(self._secret(found[1]))
            return parts[-1]

        try:
            whole = REFERENCE.sub(put, text)
        except ValueError as error:
            self.faults.add(place, str(error))
            self.faults.unread.add(place)
            return text
        if parts:
            self.values.update(filter(None, parts))
            self.faults.secrets[place] = tuple(sorted({whole, *parts}, key=len, reverse=True))
        return whole

    def _secret(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        match kind:
            case "env" if name:
                if name not in self.env:
                    raise ValueError(near(f"{name} is not set in the environment", name, self.env))
                return self.env[name]
            case "file" if name:
                return self._file(self.directory / name)
            case _:
                raise ValueError(FORMS)

    def _file(self, path: Path) -> str:
        if not below(path, self.allowed):
            raise ValueError(f"{path} is outside the directories that the host file allows (files.secrets)")
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError(f"{path} is not a file")
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
            text = data.decode()
        except OSError as error:
            raise ValueError(f"reading {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8") from error
        if len(data) > LARGEST:
            raise ValueError(f"{path} is larger than {LARGEST // 1024} KiB")
        return text.rstrip("\r\n")


def references(value: Any, place: Place) -> Iterator[Place]:
    """Yield where secrets are asked for."""
    match value:
        case str():
            if any(
                found[0].startswith("${") and found[1].startswith(("env:", "file:"))
                for found in REFERENCE.finditer(value)
            ):
                yield place
        case list():
            for n, one in enumerate(value):
                yield from references(one, (*place, n))
        case dict():
            for name, one in value.items():
                yield from references(one, (*place, name))
        case _:
            pass
