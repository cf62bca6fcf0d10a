"""An archive is unpacked file by file; one made to do harm costs an error, no memory, and is named."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from intelstream import testing
from intelstream.errors import Rejected
from intelstream.formats.archive import Extract, unpack
from intelstream.sdk.files import Spool

MIB = 2**20
Files = Mapping[str, bytes]
TWO = {"list/a.csv": b"one", "b.txt": b"two"}


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.mkdir("list")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            odd = tarfile.TarInfo(f"odd{kind.decode()}")
            odd.type, odd.linkname = kind, "/etc/passwd"
            archive.addfile(odd)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.fixture
async def spool() -> AsyncGenerator[Spool]:
    async with testing.open_stage("collectors.http", {"url": "http://host.example/"}) as run:
        yield Spool(run.stage.ctx)


def unpacked(
    source: bytes, spool: Spool, extract: Extract = "auto", max_bytes: int = 32 * MIB
) -> dict[str | None, bytes]:
    found = {}
    for name, content in unpack(source, extract, spool, of="list", max_bytes=max_bytes):
        found[name] = content.read_bytes() if isinstance(content, Path) else content
    return found


def refused(source: bytes, spool: Spool, extract: Extract = "auto", max_bytes: int = 32 * MIB) -> str:
    pieces = unpack(source, extract, spool, of="list", max_bytes=max_bytes)
    with pytest.raises(Rejected) as caught:
        next(pieces)
    return str(caught.value)


ARCHIVES: dict[str, bytes] = {
    "zip": zipped(TWO),
    "zip, stored": zipped(TWO, zipfile.ZIP_STORED),
    "tar of POSIX": tarred(TWO),
    "tar of GNU": tarred(TWO, tarfile.GNU_FORMAT),
    "tar of old": tarred(TWO, tarfile.USTAR_FORMAT),
    "tar.gz": gzip.compress(tarred(TWO)),
    "tar.bz2": bz2.compress(tarred(TWO)),
    "tar.xz": lzma.compress(tarred(TWO)),
    "tar.zst": zstd(tarred(TWO)),
}


@pytest.mark.parametrize("source", ARCHIVES.values(), ids=ARCHIVES)
def test_each_file_comes_with_its_name_and_nothing_else_comes(source: bytes, spool: Spool) -> None:
    assert unpacked(source, spool) == TWO


SINGLE: dict[str, bytes] = {
    "plain": b"one\ntwo\n",
    "gzip": gzip.compress(b"one\ntwo\n"),
    "gzip in parts": gzip.compress(b"one\n") + gzip.compress(b"two\n"),
    "bzip2": bz2.compress(b"one\ntwo\n"),
    "bzip2 in parts": bz2.compress(b"one\n") + bz2.compress(b"two\n"),
    "xz": lzma.compress(b"one\ntwo\n"),
    "xz in parts, padded": lzma.compress(b"one\n") + bytes(8) + lzma.compress(b"two\n"),
    "zstd in parts": zstd(b"one\n") + zstd(b"two\n"),
}


@pytest.mark.parametrize("source", SINGLE.values(), ids=SINGLE)
def test_what_holds_one_stream_has_no_name(source: bytes, spool: Spool) -> None:
    assert unpacked(source, spool) == {None: b"one\ntwo\n"}


def test_none_leaves_an_archive_as_it_is(spool: Spool) -> None:
    source = zipped(TWO)

    assert unpacked(source, spool, "none") == {None: source}


def test_patterns_choose_and_what_they_miss_is_told(spool: Spool) -> None:
    assert unpacked(zipped(TWO), spool, ("*.csv",)) == {"list/a.csv": b"one"}
    assert unpacked(tarred(TWO), spool, ("b.*", "none")) == {"b.txt": b"two"}
    assert "matches *.xml; it holds list/a.csv, b.txt" in refused(zipped(TWO), spool, ("*.xml",))
    assert "no archive" in refused(b"<html>", spool, ("*.csv",))


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_a_name_is_a_text_and_never_a_path(pack: Callable[[Files], bytes], spool: Spool, tmp_path: Path) -> None:
    names = (
        "../../escaped",
        str(tmp_path / "escaped"),
        "a/../../escaped",
        "\udcff".encode("utf-8", "replace").decode(),
    )

    assert set(unpacked(pack(dict.fromkeys(names, bytes(2 * MIB))), spool)) == set(names)
    assert list(tmp_path.iterdir()) == []
    assert not (spool.directory.parent.parent / "escaped").exists()


def test_large_files_land_in_the_spool_alone(spool: Spool) -> None:
    source = gzip.compress(tarred({"a": b"x" * 2 * MIB, "b": b"y"}))
    pieces = list(unpack(source, "auto", spool, of="list", max_bytes=32 * MIB))

    assert [type(piece.content).__name__ for piece in pieces] == ["PosixPath", "bytes"]
    assert list(spool.directory.iterdir()) == [pieces[0].content]


# -- damage -------------------------------------------------------------------------------------------------


def torn(source: bytes) -> bytes:
    return source[: len(source) * 2 // 3]


def wrong_checksum() -> bytes:
    source = bytearray(zipped({"a": b"one", "b": b"x" * 100}, zipfile.ZIP_STORED))
    source[source.index(b"xxx") + 2] = 0
    return bytes(source)


def encrypted() -> bytes:
    source = bytearray(zipped({"a": b"one"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        source[source.rindex(mark) + place] |= 1
    return bytes(source)


def damaged_header() -> bytes:
    source = bytearray(tarred({"a": bytes(512), "b": b"two"}, tarfile.USTAR_FORMAT))
    source[source.rindex(b"b\0\0")] = ord("c")  # the checksum tells
    return bytes(source)


BIG = {"a": bytes(range(256)) * 4096}
DAMAGED: dict[str, tuple[bytes, str]] = {
    "zip, torn": (torn(zipped(BIG)), "damaged"),
    "zip, wrong checksum": (wrong_checksum(), "damaged: Bad CRC-32 for file 'b'"),
    "zip, encrypted": (encrypted(), "a is encrypted"),
    "zip of bzip2": (zipped({"a": b"x" * 1000}, zipfile.ZIP_BZIP2), "method 12; only deflate"),
    "zip of LZMA": (zipped({"a": b"x" * 1000}, zipfile.ZIP_LZMA), "method 14; only deflate"),
    "tar, torn in a file": (torn(tarred(BIG)), "damaged"),
    "tar, torn in a header": (tarred({"a": bytes(512), "b": b""}, tarfile.USTAR_FORMAT)[:-9_000], "damaged"),
    "tar, a damaged header": (damaged_header(), "damaged after a"),
    "tar.gz, torn": (torn(gzip.compress(tarred(BIG))), "damaged"),
    "gzip, torn": (torn(gzip.compress(BIG["a"])), "damaged"),
    "gzip, then nothing of it": (gzip.compress(b"one") + b"junk", "damaged"),
    "bzip2, torn": (torn(bz2.compress(BIG["a"])), "damaged: it ends early"),
    "xz, torn": (torn(lzma.compress(BIG["a"])), "damaged"),
    "xz, then nothing of it": (lzma.compress(b"one") + b"junk", "damaged"),
    "zstd, wrong": (zstd(BIG["a"])[:-100] + bytes(100), "damaged"),
}


@pytest.mark.parametrize(("source", "text"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_gives_nothing_and_says_so(source: bytes, text: str, spool: Spool) -> None:
    message = refused(source, spool)

    assert message.startswith("unpacking list: ")
    assert text in message
    assert list(spool.directory.glob("*")) == []


# -- harm ---------------------------------------------------------------------------------------------------


def overlapping() -> bytes:
    """Many entries of the directory that share one packed file."""
    source = zipped({"a": bytes(4 * MIB)})
    start = source.rindex(b"PK\x01\x02")
    end = source.rindex(b"PK\x05\x06")
    entries = source[start:end] * 100
    return source[:start] + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(entries), start, 0)


def wide_directory() -> bytes:
    return b"PK\x03\x04" + bytes(100) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 100_000_000, 0, 0)


def wide_header() -> bytes:
    """A header that says that the name of the next file takes 100 MB, which follow."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 100_000_000
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 8 * MIB


def deep_headers() -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    return (info.tobuf(tarfile.GNU_FORMAT) + b"n".ljust(512, b"\0")) * 4000


def sparse() -> bytes:
    """A file of which nearly all is a hole of 8 GiB."""
    info = tarfile.TarInfo("hole")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\000000000000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def wide_window() -> bytes:
    """A frame that wants 256 MiB of its own past to be kept."""
    packer = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    ).compressobj()
    return packer.compress(b"one") + packer.flush()


def wide_dictionary() -> bytes:
    return lzma.compress(b"one", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}])


HARMFUL: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "gzip over the limit": (lambda: gzip.compress(bytes(9 * MIB)), 8 * MIB, "more than 8MiB unpacked"),
    "zip over the limit": (
        lambda: zipped({"a": bytes(5 * MIB), "b": bytes(4 * MIB)}),
        8 * MIB,
        "b: more than 8MiB unpacked",
    ),
    "tar.gz over the limit": (
        lambda: gzip.compress(tarred({"a": bytes(9 * MIB)})),
        8 * MIB,
        "more than 8MiB unpacked",
    ),
    "gzip over the ratio": (lambda: gzip.compress(bytes(30 * MIB)), 99 * MIB, "more than 200 times"),
    "bzip2 over the ratio": (lambda: bz2.compress(bytes(40 * MIB)), 99 * MIB, "more than 200 times"),
    "xz over the ratio": (lambda: lzma.compress(bytes(40 * MIB), preset=0), 99 * MIB, "more than 200 times"),
    "zstd over the ratio": (lambda: zstd(bytes(40 * MIB)), 99 * MIB, "more than 200 times"),
    "zip over the ratio": (lambda: zipped({"a": bytes(30 * MIB)}), 99 * MIB, "a: more than 200 times"),
    "files that share their bytes": (overlapping, 999 * MIB, "more than 200 times"),
    "too many files in a zip": (
        lambda: zipped({str(n): b"" for n in range(10_001)}),
        99 * MIB,
        "more than 10000 members",
    ),
    "too many files in a tar": (
        lambda: tarred({str(n): b"" for n in range(10_001)}),
        99 * MIB,
        "more than 10000 members",
    ),
    "a directory without end": (wide_directory, 99 * MIB, ""),
    "a name without end": (wide_header, 99 * MIB, "takes more than 4MiB"),
    "headers within headers": (deep_headers, 99 * MIB, "damaged"),
    "a hole of 8 GiB": (sparse, 99 * MIB, "hole: more than 99MiB"),
    "zstd that wants memory": (wide_window, 99 * MIB, "damaged"),
    "xz that wants memory": (wide_dictionary, 99 * MIB, "Memory usage limit"),
}


@pytest.mark.parametrize(("source", "limit", "text"), HARMFUL.values(), ids=HARMFUL)
def test_an_archive_made_to_do_harm_is_refused_by_name_and_limit(
    source: Callable[[], bytes], limit: int, text: str, spool: Spool
) -> None:
    message = refused(source(), spool, max_bytes=limit)

    assert message.startswith("unpacking list: ")
    assert text in message
    assert list(spool.directory.glob("*")) == []


def test_bombs_take_little_memory(spool: Spool) -> None:
    import tracemalloc  # noqa: PLC0415 - slows all that follows down

    bomb = bz2.compress(bytes(40 * MIB))
    tracemalloc.start()
    try:
        refused(bomb, spool, max_bytes=999 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * MIB
