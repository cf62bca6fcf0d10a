"""Unpacks ZIP, tar, gzip, bzip2, xz and zstd within limits; one made to do harm costs no more than any other."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, TypeVar

import zstandard
from pydantic import BeforeValidator, Field, WithJsonSchema

from intelstream.errors import Rejected, Unavailable
from intelstream.sdk.files import CHUNK, Content, Piece, Spool
from intelstream.sdk.stage import Params
from intelstream.sdk.types import Size

T = TypeVar("T")
MEMBERS: Final = 10_000
RATIO: Final = 200  # times the packed size; real lists stay far below, deflate ends at 1,032
SMALL: Final = 16 * 2**20  # bytes that may come of anything, whatever the ratio
DIRECTORY: Final = 4 * 2**20  # bytes of a ZIP's directory, or of one header in a tar
MEMORY: Final = 128 * 2**20  # bytes of history that a packer may ask for
LONGEST_NAME: Final = 1024
ENCRYPTED: Final = 0x1  # ZIP, general purpose bit 0
BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    OSError,  # what bz2 and gzip raise
    ValueError,
    NotImplementedError,
    RecursionError,
)


def _patterns(value: object) -> object:
    if isinstance(value, str) and value not in ("auto", "none"):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Extract = Annotated[
    Literal["auto", "none"] | tuple[str, ...],
    BeforeValidator(_patterns),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    "`auto`, `none` or list of patterns",
]


class ExtractParams(Params):
    """Parameters of every collector of what may be packed."""

    extract: Extract = Field("auto", description="What to take out of an archive: patterns of names, or all.")


class _Budget:
    """How much may still come out of an archive."""

    def __init__(self, of: str, packed: int, most: int) -> None:
        self.of, self.packed, self.most = of, packed, most
        self.out = 0

    def take(self, size: int, name: str = "") -> None:
        self.out += size
        what = f"unpacking {self.of}{f': {name}' if name else ''}"
        if self.out > self.most:
            raise Rejected(f"{what}: more than {Size(self.most)} unpacked; if that is right, raise `max_bytes`")
        if self.out > max(SMALL, self.packed * RATIO):
            raise Rejected(f"{what}: more than {RATIO} times its packed size: an archive made to do harm")


class _Bounded(io.RawIOBase):
    """A file that gives no more than was allowed for the step at hand, whatever its own headers say."""

    def __init__(self, file: BinaryIO, of: str) -> None:
        self._file, self._of = file, of
        self._left = 0

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise Rejected(f"unpacking {self._of}: its directory takes more than {Size(DIRECTORY)}")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def unpack(source: Content, extract: Extract, spool: Spool, *, of: str, max_bytes: int) -> Iterator[Piece]:
    """Yield what a source holds: the files of an archive one by one, else the whole, unpacked where it is packed.

    What it is, its first bytes say. All files are checked before the first is given: a damaged archive gives
    nothing instead of a part. `of` names the source in errors. Blocking, so run it in a thread.

    Raises:
        Rejected: it is damaged, encrypted, larger than a limit, or has no file that `extract` asks for.
        Unavailable: the disk is full.
    """
    if extract == "none":
        yield Piece(None, source)
        return
    wanted: tuple[str, ...] = ("*",) if isinstance(extract, str) else extract
    with _reading(of), _open(source) as file:
        budget = _Budget(of, file.seek(0, io.SEEK_END), max_bytes)
        if inflate := _packer(file):
            inner = _inflated(inflate(file), budget, spool)
            with _open(inner) as unpacked:
                if not _is_tar(unpacked):
                    yield Piece(None, inner)
                    return
                yield from _tar(unpacked, wanted, spool, _Budget(of, budget.out, max_bytes))
            spool.remove(inner)
        elif _starts(file, b"PK\x03\x04", b"PK\x05\x06"):
            yield from _zip(file, wanted, spool, budget)
        elif _is_tar(file):
            yield from _tar(file, wanted, spool, budget)
        elif extract == "auto":
            yield Piece(None, source)
        else:
            raise Rejected(f"unpacking {of}: no archive; `extract: auto` takes whatever comes")


def _zip(file: BinaryIO, wanted: Sequence[str], spool: Spool, budget: _Budget) -> Iterator[Piece]:
    bounded = _Bounded(file, budget.of)
    bounded.allow(DIRECTORY)
    with zipfile.ZipFile(bounded) as archive:
        members = archive.infolist()
        chosen = _chosen([(info.filename, info) for info in members if _is_file(info)], wanted, budget, len(members))
        for name, info in chosen:
            budget.take(info.file_size, name)
        for name, info in chosen:
            _check(name, info, budget.of)
            bounded.allow(info.compress_size + CHUNK)
            with archive.open(info) as stream:
                while stream.read(CHUNK):  # the last read compares the checksum
                    pass
        for name, info in chosen:
            bounded.allow(info.compress_size + CHUNK)
            with archive.open(info) as stream:
                yield Piece(name, spool.take(stream))


def _is_file(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16  # of Unix; 0 where the packer has none
    return not info.is_dir() and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def _check(name: str, info: zipfile.ZipInfo, of: str) -> None:
    """Refuse what cannot be read, or not within bounds: bzip2 and LZMA give any amount of bytes at a step."""
    if info.flag_bits & ENCRYPTED:
        raise Rejected(f"unpacking {of}: {name} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Rejected(f"unpacking {of}: {name} is packed by method {info.compress_type}; only deflate is taken")


def _tar(file: BinaryIO, wanted: Sequence[str], spool: Spool, budget: _Budget) -> Iterator[Piece]:
    bounded = _Bounded(file, budget.of)
    bounded.allow(DIRECTORY)
    with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="replace") as archive:
        members: list[tarfile.TarInfo] = []
        while info := archive.next():
            members.append(info)
            if len(members) > MEMBERS:
                break
            bounded.allow(DIRECTORY)
        chosen = _chosen([(info.name, info) for info in members if info.isreg()], wanted, budget, len(members))
        if len(members) <= MEMBERS and _at(file, archive.offset).strip(b"\0"):
            raise Rejected(f"unpacking {budget.of}: damaged after {members[-1].name}")
        for name, info in chosen:
            budget.take(info.size, name)
        for name, info in chosen:
            bounded.allow(info.size + CHUNK)
            if stream := archive.extractfile(info):
                with stream:
                    yield Piece(name, spool.take(stream))


def _chosen(
    files: Sequence[tuple[str, T]], wanted: Sequence[str], budget: _Budget, members: int
) -> list[tuple[str, T]]:
    """Return the files that are asked for, with names that JSON can hold."""
    if members > MEMBERS:
        raise Rejected(f"unpacking {budget.of}: more than {MEMBERS} members")
    named = [(name.encode("utf-8", "replace").decode()[-LONGEST_NAME:], file) for name, file in files]
    chosen = [(name, file) for name, file in named if any(fnmatchcase(name, pattern) for pattern in wanted)]
    if not chosen and wanted != ("*",):
        there = ", ".join(name for name, _ in named[:5]) or "no files"
        raise Rejected(f"unpacking {budget.of}: nothing in it matches {', '.join(wanted)}; it holds {there}")
    return chosen


def _inflated(chunks: Iterator[bytes], budget: _Budget, spool: Spool) -> Content:
    with spool.landing() as landing:
        for chunk in chunks:
            budget.take(len(chunk))
            landing.write(chunk)
        return landing.close()


def _packer(file: BinaryIO) -> Callable[[BinaryIO], Iterator[bytes]] | None:
    """Return what undoes the packing of a single stream."""
    if _starts(file, b"\x1f\x8b\x08"):
        return _gzip
    if _starts(file, b"BZh"):
        return partial(_frames, bz2.BZ2Decompressor)
    if _starts(file, b"\xfd7zXZ\0"):
        return partial(_frames, partial(lzma.LZMADecompressor, memlimit=MEMORY))
    return _zstd if _starts(file, b"\x28\xb5\x2f\xfd") else None


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MEMORY)
    with decompressor.stream_reader(file, read_across_frames=True, closefd=False) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _frames(new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], file: BinaryIO) -> Iterator[bytes]:
    """Read streams that follow each other, never more than a chunk at a step."""
    decompressor, data = new(), file.read(CHUNK)
    while True:
        if chunk := decompressor.decompress(data, CHUNK):
            yield chunk
        data = b""
        if decompressor.eof:
            data = (decompressor.unused_data or file.read(CHUNK)).lstrip(b"\0")
            if not data:
                return
            decompressor = new()
        elif decompressor.needs_input and not (data := file.read(CHUNK)):
            raise EOFError("it ends early")


@contextmanager
def _open(content: Content) -> Iterator[BinaryIO]:
    try:
        file: BinaryIO = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
    except OSError as error:
        raise Unavailable(f"opening {content!s}: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _reading(of: str) -> Iterator[None]:
    """Turn what the libraries raise over damaged archives into one error."""
    try:
        yield
    except BROKEN as error:
        raise Rejected(f"unpacking {of}: damaged: {error or type(error).__name__}") from error


def _at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(tarfile.BLOCKSIZE)


def _starts(file: BinaryIO, *magic: bytes) -> bool:
    return bool(_at(file, 0).startswith(magic)) and file.seek(0) == 0


def _is_tar(file: BinaryIO) -> bool:
    """Tell a tar by the mark of POSIX and GNU, at place 257."""
    found = _at(file, 0)[257:262] == b"ustar"
    file.seek(0)
    return found
