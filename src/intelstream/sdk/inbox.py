"""Takes each file of a directory once, when nobody writes to it any more."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from intelstream.sdk.context import StageContext
from intelstream.sdk.files import Content
from intelstream.sdk.items import Changes, Commit
from intelstream.sdk.listing import Found, Held, Identity, Read, find, remove, sorted_out, take
from intelstream.sdk.once import Once
from intelstream.sdk.types import Duration, Size

READ: Final = "read:"  # in front of a path, in the cursor
STEP: Final = 1000  # changes of what is known in one commit
READABLE: Final = "let the user of the daemon read it"


class Taken(NamedTuple):
    """A file that is to be read, and how it is remembered."""

    found: Found
    content: Content
    identity: Identity

    def read(self, *, refused: bool = False) -> Changes:
        """Return the cursor behind this file; one that is `refused` is not in, and never to be."""
        return remembered(self.found, self.identity._replace(refused=refused))


def remembered(found: Found, identity: Identity) -> Changes:
    return Changes({f"{READ}{found.path}": [*identity]})


class Inbox:
    """The files of one stage. What is wrong with one is told once, and the others go on.

    Where it `deletes`, files that are in are deleted, also those of which this was not done before.
    """

    def __init__(self, ctx: StageContext, *, max_bytes: Size, settle: Duration, deletes: bool = False) -> None:
        self.told = Once(ctx.log)
        self._ctx = ctx
        self._max_bytes = max_bytes
        self._settle = settle
        self._deletes = deletes

    async def files(self, path: Path) -> list[Found]:
        """Return the files that a path, a directory or a pattern means.

        Raises:
            Unavailable: the directory is not there, or cannot be read.
        """
        found = await self._ctx.in_thread(find, path)
        for stray in found.strays:
            self.told.warn("link_not_followed", stray, cure="it leads out of the directory; read it where it is")
        for unnamed in found.unnamed:
            self.told.warn("file_name_not_utf8", unnamed, cure="rename it")
        return found.files

    async def fresh(self, files: Sequence[Found], cursor: Mapping[str, Any]) -> AsyncIterator[Taken | Commit]:
        """Yield what has not been read yet, and commits of what is to be remembered besides."""
        known = {key.removeprefix(READ): Identity(*value) for key, value in cursor.items() if key.startswith(READ)}
        seen, fresh = await self._ctx.in_thread(sorted_out, files, known)
        for changes in _differences(known, seen):
            yield Commit(changes)
        left = [found for found in files if (one := seen.get(str(found.path))) and not one.refused]
        if self._deletes and left:
            yield Commit(Changes(), partial(self.delete, *left))
        async for found in self._settled(fresh):
            if held := await self._take(found):
                try:
                    yield self._checked(found, held)
                finally:
                    held.release()

    async def delete(self, *files: Found) -> None:
        """Delete files, unless they have changed since they were read."""
        for found in files:
            try:
                await self._ctx.in_thread(remove, found)
            except OSError as error:
                cure = "let the user of the daemon write to its directory"
                self.told.warn("file_not_deleted", found.path, reason=error.strerror, cure=cure)

    def _checked(self, found: Found, held: Held) -> Taken | Commit:
        if held.content is None:
            size, cure = held.identity.size, "raise `max_bytes` and touch the file, if it is to be read"
            self.told.warn("file_too_large", found.path, size=size, limit=str(self._max_bytes), cure=cure)
            return Commit(remembered(found, held.identity._replace(refused=True)))
        return Taken(found, held.content, held.identity)

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

    async def _take(self, found: Found) -> Held | None:
        try:
            return await self._ctx.in_thread(take, found, self._max_bytes)
        except BlockingIOError as busy:
            self._ctx.log.info("file_busy", path=str(found.path), reason=busy.strerror)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.told.warn("file_not_readable", found.path, reason=error.strerror, cure=READABLE)
        return None


def _differences(known: Read, seen: Read) -> Iterator[Changes]:
    """Yield what has changed in what is known, in bounded steps: new names come before old ones go."""
    new = {path: [*identity] for path, identity in seen.items() if known.get(path) != identity}
    changes = [*new.items(), *((path, None) for path in known if path not in seen)]
    for low in range(0, len(changes), STEP):
        yield Changes((f"{READ}{path}", value) for path, value in changes[low : low + STEP])
