"""Parameters of every stage that talks HTTP, and URLs that may be shown."""

import re
import ssl
from importlib.metadata import version
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter, WithJsonSchema, model_validator

from intelstream.sdk.stage import Params
from intelstream.sdk.types import Duration, PathUnder, Secret, Size

SECRET_NAME: Final = re.compile(r"key|token|secret|pass|pwd|auth|sig|cred|session|jwt", re.IGNORECASE)
SECRET_VALUE: Final = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_+/=-]{24,}|eyJ[\w.-]+")


def _url(text: str) -> str:
    """Check a URL, and keep it as it is written."""
    TypeAdapter(HttpUrl).validate_python(text)
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise ValueError(f"no header: {name!r}")
    return headers


Url = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "format": "uri"}), "URL"]
Headers = Annotated[dict[str, str], AfterValidator(_headers), "mapping of text"]


class HttpParams(Params):
    """Parameters of every stage that talks HTTP; subclass and add your own."""

    url: Url = Field(description="Where to.")
    method: Literal["GET", "POST", "PUT", "PATCH"] = Field("GET", description="HTTP method.")
    headers: Headers = Field({}, description="Sent with each request, to the host of `url` alone.")
    user_agent: str = Field(f"intelstream/{version('intelstream')}", description="Who asks.")
    username: str | None = Field(None, description="Name for basic authentication.")
    password: Secret | None = Field(None, description="Password for basic authentication.")
    token: Secret | None = Field(None, description="Sent as `Authorization: Bearer …`.")
    proxy: Url | None = Field(None, description="Proxy that all requests go through.")
    verify: bool = Field(True, description="Whether the server must show a valid certificate.")
    ca_file: PathUnder | None = Field(None, description="Certificates to trust instead of the system's (PEM).")
    client_cert: PathUnder | None = Field(None, description="Certificate to show to the server (PEM).")
    client_key: PathUnder | None = Field(None, description="Key of `client_cert`, if it is in another file.")
    timeout: Duration = Field(Duration("30s"), description="Longest wait for an answer, or for more of it.")
    max_bytes: Size = Field(Size("1GiB"), description="Longest answer taken, unpacked.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token and self.username:
            raise ValueError("give `token` or `username`, not both")
        if self.password and self.password.get_secret_value() and not self.username:
            raise ValueError("a `password` needs a `username`")
        if self.client_key and not self.client_cert:
            raise ValueError("a `client_key` needs a `client_cert`")
        return self


def shown(url: str) -> str:
    """Return a URL without what may be secret in it: the user, and values of the query that look like tokens."""
    parts = urlsplit(url)
    query = "&".join(
        f"{name}=***"
        if value and (SECRET_NAME.search(name) or SECRET_VALUE.fullmatch(value))
        else f"{name}{is_}{value}"
        for name, is_, value in (pair.partition("=") for pair in parts.query.split("&"))
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def tls(params: HttpParams, *, own: bool) -> ssl.SSLContext | bool:
    """Return what TLS is to do with these parameters; only the `own` host is shown the client's certificate.

    Raises:
        OSError: a file cannot be read, or holds no certificate.
    """
    if params.verify and not params.ca_file and not (own and params.client_cert):
        return True
    context = ssl.create_default_context(cafile=params.ca_file)
    if not params.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if own and params.client_cert:
        context.load_cert_chain(params.client_cert, params.client_key)
    return context
