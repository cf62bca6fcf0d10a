"""A real PostgreSQL of the tests' own: a fresh cluster on a free port, run by a user without privileges."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import trustme

from services import servers

USER: Final = "keeper"
PASSWORD: Final = "hush-hush"  # noqa: S105 - of a server that lives as long as its test
SETTINGS: Final[dict[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "log_statement": "mod",
    "ssl": "on",
    "ssl_cert_file": "server.pem",
    "ssl_key_file": "server.key",
}


@dataclass
class RunningPostgres:
    """A server with a superuser `keeper`, who needs a password by TCP and none by the socket."""

    bin: Path
    directory: Path
    port: int
    user: int | None = None  # who runs it, if not we ourselves
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def no_groups(self) -> list[int] | None:
        return [] if self.user else None

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def url(self, database: str = "postgres", host: str = "127.0.0.1") -> str:
        return f"postgresql://{host}:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        return f"postgresql://:{self.port}/{database}?host={self.directory}"

    @contextmanager
    def connection(self, database: str = "postgres") -> "Iterator[psycopg.Connection[Any]]":
        """Connect as an administrator of the database would."""
        with psycopg.connect(
            host=str(self.directory),
            port=self.port,
            dbname=database,
            user=USER,
            options="-c default_transaction_read_only=off",
            autocommit=True,
        ) as connection:
            yield connection

    def run(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements and return the rows of the last one."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self) -> None:
        secret = self.directory / "secret"
        secret.write_text(PASSWORD)
        access = ("-U", USER, "--pwfile", secret, "--auth-local=trust", "--auth-host=scram-sha-256")
        language = ("-E", "UTF8", "--locale=C.UTF-8")
        self._do([self.bin / "initdb", "-D", self.directory / "data", "--no-sync", *access, *language])
        ca = trustme.CA()
        own = ca.issue_cert("localhost")
        ca.cert_pem.write_to_path(self.ca_file)
        own.cert_chain_pems[0].write_to_path(self.directory / "data" / "server.pem")
        own.private_key_pem.write_to_path(self.directory / "data" / "server.key")
        for name in ("server.pem", "server.key"):
            own_file = self.directory / "data" / name
            own_file.chmod(0o600)
            if self.user:
                shutil.chown(own_file, self.user)

    def start(self) -> None:
        """Start it, or start it again on the same data and port, and wait until it answers."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.directory)}
        command: list[str | Path] = [self.bin / "postgres", "-D", self.directory / "data"]
        for name, value in settings.items():
            command += "-c", f"{name}={value}"
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=self.no_groups,
            )
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, self.log.read_text()
            try:
                with self.connection():
                    return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it, as a crash does unless told otherwise, and wait for that."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def _do(self, command: Sequence[str | Path]) -> None:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            capture_output=True,
            text=True,
            check=False,
            user=self.user,
            group=self.user,
            extra_groups=self.no_groups,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running() -> Iterator[RunningPostgres]:
    """Give a server; without the programs the test is skipped, or fails where services are required."""
    found = programs()
    with tempfile.TemporaryDirectory(prefix="intelstream-tests-") as name:
        directory = Path(name)
        nobody = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None  # the server refuses to be run by root
        if nobody:
            shutil.chown(directory, nobody)
        server = RunningPostgres(found, directory, servers.free_port(), nobody)
        try:
            server.create()
            server.start()
            yield server
        finally:
            server.stop()


def programs() -> Path:
    """Return the directory of the newest server's programs, which Debian keeps off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else servers.program("initdb", "postgresql").resolve().parent
