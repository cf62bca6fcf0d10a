"""Takes each file of a directory once, when nobody writes to it any more."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from intelstream.sdk.context import StageContext
from intelstream.sdk.files import Content
from intelstream.sdk.listing import Found, Identity, Read, find, remove, sorted_out, take
from intelstream.sdk.once import Once
from intelstream.sdk.types import Duration, Size

READABLE: Final = "let the user of the daemon read it"


class Taken(NamedTuple):
    """A file, its content if it is to be read, and what has been read by now, in a form that JSON can hold."""

    found: Found
    content: Content | None
    read: dict[str, list[Any]]


class Inbox:
    """The files of one stage. What is wrong with one is told once, and the others go on."""

    def __init__(self, ctx: StageContext, *, max_bytes: Size, settle: Duration) -> None:
        self.told = Once(ctx.log)
        self._ctx = ctx
        self._max_bytes = max_bytes
        self._settle = settle

    async def files(self, path: Path) -> list[Found]:
        """Return the files that a path, a directory or a pattern means.

        Raises:
            Unavailable: the directory is not there, or cannot be read.
        """
        found = await self._ctx.in_thread(find, path)
        for stray in found.strays:
            self.told.warn("link_not_followed", stray, cure="it leads out of the directory; read it where it is")
        return found.files

    async def fresh(self, files: Sequence[Found], read: Mapping[str, Sequence[Any]]) -> AsyncIterator[Taken]:
        """Yield what has not been read yet; one that is too large is never to be, and has no content."""
        known = {path: Identity(*identity) for path, identity in read.items()}
        seen, fresh = await self._ctx.in_thread(sorted_out, files, known)
        async for found in self._settled(fresh):
            if taken := await self._take(found, seen):
                yield taken

    async def delete(self, found: Found) -> None:
        """Delete a file, unless it has changed since it was read."""
        try:
            await self._ctx.in_thread(remove, found)
        except OSError as error:
            cure = "let the user of the daemon write to its directory"
            self.told.warn("file_not_deleted", found.path, reason=error.strerror, cure=cure)

    async def _settled(self, files: Sequence[Found]) -> AsyncIterator[Found]:
        """Yield files that have been left alone for long enough; the others come last, after a wait."""
        now = self._ctx.now().timestamp()
        young = [found for found in files if 0 <= now - found.status.st_mtime < self._settle]
        places = {found.path for found in young}
        for found in files:
            if found.path not in places:
                yield found
        if young:
            await self._ctx.sleep(self._settle)
        for found in young:
            yield found

    async def _take(self, found: Found, seen: Read) -> Taken | None:
        try:
            identity, content = await self._ctx.in_thread(take, found, self._max_bytes)
        except BlockingIOError as busy:
            self._ctx.log.info("file_busy", path=str(found.path), reason=busy.strerror)
            return None
        except FileNotFoundError:
            return None
        except OSError as error:
            self.told.warn("file_not_readable", found.path, reason=error.strerror, cure=READABLE)
            return None
        seen[str(found.path)] = identity
        if content is None:
            cure = "raise `max_bytes` and touch the file, if it is to be read"
            self.told.warn("file_too_large", found.path, size=identity.size, limit=str(self._max_bytes), cure=cure)
        return Taken(found, content, {path: [*one] for path, one in seen.items()})
