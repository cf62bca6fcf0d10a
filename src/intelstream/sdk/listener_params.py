"""The parameters of every stage that listens for HTTP requests."""

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from intelstream.sdk.stage import Params
from intelstream.sdk.types import Duration, Secret, Size


def _listen(text: str) -> str:
    endpoint(text)
    return text


def endpoint(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8401` or `[::1]:8401`."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]:(\d{1,5})|([A-Za-z0-9._-]+):(\d{1,5})", text)
    if not found or not 0 < int(found[2] or found[4]) < 65_536:  # noqa: PLR2004
        raise ValueError("expected an address such as 127.0.0.1:8401")
    return found[1] or found[3], int(found[2] or found[4])


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", text):
        raise ValueError("expected a path such as /push")
    return text


class ListenerParams(Params):
    """Parameters of every stage that listens for HTTP requests."""

    listen: Annotated[str, AfterValidator(_listen), "host:port"] = Field(
        "127.0.0.1:8401", description="Where to listen; beyond the own host only with a `token`."
    )
    path: Annotated[str, AfterValidator(_path), "path"] = Field("/", description="Path of the URL to post to.")
    token: Secret | None = Field(None, description="What senders must show as `Authorization: Bearer …`.")
    max_bytes: Size = Field(Size("64MiB"), description="Largest request taken.")
    timeout: Duration = Field(Duration("30s"), description="How long a request waits to be taken.")

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        host, _ = endpoint(self.listen)
        if not is_loopback(host) and not (self.token and self.token.get_secret_value()):
            raise ValueError(f"listening on {host}, others can reach it: give a `token`")
        return self
