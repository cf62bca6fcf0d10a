"""The two locks of a state directory: one says that a daemon works in it, the other that its server lives."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from intelstream.errors import DirectoryInUse, UnusableDirectory, UnusableServer

CURE: Final = "name another with --state-dir or `state_dir` in the host file, or let the user of the daemon write there"


class FileLock:
    """An flock: the kernel lets it go when the last process that holds its descriptor has ended, however."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1

    def acquire(self) -> bool:
        """Take the lock if nobody has it, and say so. The descriptor is close-on-exec.

        Raises:
            UnusableServer: the file system knows no locks.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise UnusableServer(
                f"locking {self.path}: {error.strerror} (put the state directory on a local file system)"
            ) from error
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Close our descriptor: the lock is free unless a child inherited it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def name_holder(self, pid: int) -> None:
        """Write down who holds the lock, for people."""
        os.truncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def holder(self) -> str:
        """Return who holds the lock: `process 4711`, or as much as is known."""
        text = self.path.read_text().strip() if self.path.exists() else ""
        return f"process {text}" if text.isdecimal() else "another process"


def unusable(path: Path) -> str:
    """Say why a state directory cannot be made or written, as far as that shows without writing; empty if it can."""
    there = next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110 - raises nothing
    if not there.is_dir():
        return f"{there} is no directory; {CURE}"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written; {CURE}"


def holds(pid: int, path: Path) -> bool:
    """Whether a process of this user has a file open."""
    with suppress(FileNotFoundError, PermissionError):  # it ended, or is somebody else's
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile, or no file
                if descriptor.samefile(path):
                    return True
    return False


class StateDirectory:
    """A state directory that this daemon alone works in while the context lasts.

    Made with mode 0700 if it is not there. `path` is absolute.

    Raises, when entered:
        DirectoryInUse: another daemon works in it.
        UnusableDirectory: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = FileLock(self.path / "daemon.lock")

    def __enter__(self) -> Self:
        if not self._acquired():
            raise DirectoryInUse(
                f"starting in {self.path}: a daemon works there already ({self._lock.holder()}); "
                "stop it, or give this one its own --state-dir"
            )
        self._lock.name_holder(os.getpid())
        return self

    def _acquired(self) -> bool:
        """Make the directory and take its lock, unless another daemon has it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            acquired = self._lock.acquire()
            if not os.access(self.path, os.W_OK | os.X_OK):  # the lock file alone may be ours
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            self._lock.release()
            raise UnusableDirectory(f"using {self.path} as state directory: {error.strerror}; {CURE}") from error
        return acquired

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
