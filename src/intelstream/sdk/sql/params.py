"""Parameters of every stage that talks to a SQL database, and where a PostgreSQL server is."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from intelstream.sdk.stage import Params
from intelstream.sdk.types import Duration, PathUnder, Secret, WritablePath

SOCKETS: Final = "/run/postgresql"  # where the server of most distributions has its socket
PORT: Final = 5432
HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SERVER_ONLY: Final = ("username", "password", "sslmode", "ca_file", "client_cert", "client_key")
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class Location:
    """A database of a PostgreSQL server; the host may be a directory with its socket."""

    host: str
    port: int
    database: str

    @property
    def is_here(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        return self.host in HERE or self.host.startswith("/")


def location(url: str) -> Location:
    """Take a URL apart.

    Raises:
        ValueError: what was expected.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("expected postgresql://HOST/DATABASE")
    if "@" in parts.netloc:
        raise ValueError("give the user as `username` and the password as `password`")
    query = parse_qs(parts.query, keep_blank_values=True)
    sockets = query.pop("host", [SOCKETS])[0]
    if query or parts.fragment:
        raise ValueError("takes nothing behind `?` but `host=/directory`, where the server has its socket")
    host = parts.hostname or sockets
    if not (parts.hostname or host.startswith("/")):
        raise ValueError("expected a directory behind `host=`; a host stands before the database")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database or "\0" in database:
        raise ValueError("expected the name of the database behind the host")
    return Location(host, parts.port or PORT, database)


def _checked(url: str) -> str:
    location(url)
    return url


PostgresUrl = Annotated[
    str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": "^postgres(ql)?://"}), "URL"
]


class SqlParams(Params):
    """Parameters of every stage that talks to a SQL database; subclass and add your own."""

    url: PostgresUrl | None = Field(
        None, description="`postgresql://HOST:PORT/DATABASE`; without a host by the socket of this machine."
    )
    path: WritablePath | None = Field(None, description="Instead of `url`: the file of a SQLite database.")
    username: str | None = Field(None, description="Name to log in with; the daemon's own user if there is none.")
    password: Secret | None = Field(None, description="Password to log in with.")
    sslmode: SslMode | None = Field(
        None, description="Use of TLS, in PostgreSQL's words; if not given `verify-full`, on this machine `prefer`."
    )
    ca_file: PathUnder | None = Field(None, description="Certificates to trust instead of the system's (PEM).")
    client_cert: PathUnder | None = Field(None, description="Certificate to show to the server (PEM).")
    client_key: PathUnder | None = Field(None, description="Key of `client_cert`, if it is in another file.")
    timeout: Duration = Field(
        Duration("30s"), description="Longest wait for the server; for a lock on a file it is 5s at most."
    )

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        if (self.url is None) == (self.path is None):
            raise ValueError("give `url` for PostgreSQL, or `path` for SQLite")
        if self.path and (given := [name for name in SERVER_ONLY if getattr(self, name) is not None]):
            raise ValueError(f"`{given[0]}` goes with `url`: SQLite has none")
        if self.sslmode == "verify-ca" and not self.ca_file:
            raise ValueError("`sslmode: verify-ca` needs a `ca_file`")
        if self.client_key and not self.client_cert:
            raise ValueError("a `client_key` needs a `client_cert`")
        return self
