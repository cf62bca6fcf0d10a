"""Files on their way through a stage: what is too large for memory lies below the stage's own directory."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple

from intelstream.errors import Unavailable
from intelstream.ontology import Report
from intelstream.sdk.context import StageContext
from intelstream.sdk.items import Commit

LARGE: Final = 2**20  # bytes; what is larger is handed over as a file
CHUNK: Final = 256 * 1024

Content = bytes | Path
Done = Callable[[], Awaitable[None]]


class Piece(NamedTuple):
    """One file of an archive, or the whole of what is none; the name is a text, and never used as a path."""

    name: str | None
    content: Content


def digest_of(report: Report) -> str:
    """Return 16 hex digits of the bytes, without holding those of a file."""
    digest = blake2b(digest_size=8)
    with report.open() as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


class Landing:
    """Bytes that come one after another: they stay in memory up to 1 MiB, and go into a new file beyond that."""

    def __init__(self, directory: Path) -> None:
        self.size = 0
        self._directory = directory
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    def write(self, data: bytes) -> None:
        """Take more bytes.

        Raises:
            Unavailable: the disk is full, or the directory cannot be written.
        """
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) > LARGE or self._file:
            self._spill()

    def close(self, data: bytes = b"") -> Content:
        """Take the last bytes and return all of them, or the file that they are in."""
        self.write(data)
        if not (self._file and self._path):
            return bytes(self._buffer)
        with _spooling(self._directory):
            self._file.close()
        return self._path

    def discard(self) -> None:
        """Forget what came."""
        if self._file and self._path:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def _spill(self) -> None:
        with _spooling(self._directory):
            if self._file is None:
                self._directory.mkdir(parents=True, exist_ok=True)
                number, name = tempfile.mkstemp(dir=self._directory)
                self._file, self._path = open(number, "wb"), Path(name)  # noqa: PTH123, SIM115 - a descriptor
            self._file.write(self._buffer)
        self._buffer.clear()


class Spool:
    """A stage's own files. They are gone once what was made of them is committed, or when the next run begins."""

    def __init__(self, ctx: StageContext) -> None:
        self.directory = ctx.directory / "spool"

    def sweep(self) -> None:
        """Remove what a run that broke off has left."""
        for path in self.directory.glob("*"):
            self.remove(path)

    @contextmanager
    def landing(self) -> Iterator[Landing]:
        """Give a place for bytes to come; nothing of them is left where it is not left in peace."""
        landing = Landing(self.directory)
        try:
            yield landing
        except BaseException:
            landing.discard()
            raise

    def remove(self, content: Content) -> None:
        """Remove content that is no longer needed, if it is a file of the spool."""
        if isinstance(content, Path) and content.parent == self.directory:
            content.unlink(missing_ok=True)

    def take(self, stream: IO[bytes]) -> Content:
        """Read all of a stream."""
        with self.landing() as landing:
            while data := stream.read(CHUNK):
                landing.write(data)
            return landing.close()


@contextmanager
def _spooling(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"spooling to {directory}: {error.strerror}") from error


async def hand_over(
    ctx: StageContext,
    spool: Spool,
    source: Content,
    pieces: Iterator[Piece],
    *,
    fields: Mapping[str, Any],
    cursor: Any,
    after_commit: Done | None = None,
) -> AsyncIterator[Report | Commit]:
    """Yield a report for each piece of a source that holds anything.

    The last one carries the cursor and what is to be done after the commit, so that nothing is taken for read of
    which a part is not out. Spooled files are removed when the report made of them is committed.
    """

    async def done(content: Content, *, last: bool) -> None:
        await ctx.in_thread(spool.remove, content)
        if last:
            await ctx.in_thread(spool.remove, source)
            if after_commit:
                await after_commit()

    piece = await ctx.in_thread(next, pieces, None)
    if piece is None:
        yield Commit(cursor, partial(done, source, last=True))
    while piece:
        following = await ctx.in_thread(next, pieces, None)
        last = following is None
        ready = partial(done, piece.content, last=last) if last or isinstance(piece.content, Path) else None
        known = dict(fields) | ({"extra.file_name": piece.name} if piece.name else {})
        if piece.content:
            yield Report(piece.content, cursor=cursor if last else None, after_commit=ready, fields=known)
        elif last:
            yield Commit(cursor, ready)
        piece = following
