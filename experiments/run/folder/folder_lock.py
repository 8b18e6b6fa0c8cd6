"""The lock of a run folder: one process at a time works in it.

The operating system holds the lock and drops it when the process ends, however it ends. The file `lock` also
names the process, so that a second one can be told who it is. It is deleted at the end; that of a killed process
does no harm.
"""

import contextlib
import datetime
import errno
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

NAME = "lock"
PATIENCE = 0.5  # seconds in which a process that is just ending may release the lock
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

_locks: dict[Path, "FolderLock"] = {}
"""The locks of this process. A former run of the same process that nobody closed does not block its next one."""


class FolderLock:
    """The lock of one folder, which the constructor takes.

    Raises:
        FileExistsError: another process, or an open `with` block of this one, works in the folder. The message names
            host, process and time.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock, or raise. Without support for locks it says so on stderr, and the run goes on."""
        self.in_use = False
        """Whether a `with` block is open, which will release the lock."""
        self._path, self._folder = folder / NAME, folder
        if (former := _locks.get(folder)) is not None and not former.in_use:
            former.release()
        self._lock = FileLock(self._path, timeout=PATIENCE, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise FileExistsError(_refusal(folder)) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            print(
                f"{folder} is on a file system without locks ({error.strerror}): see to it that no other process uses "
                f"this run folder.",
                file=sys.stderr,
            )
        else:
            self._path.write_text(json.dumps(_owner()) + "\n", encoding="utf-8")
        _locks[folder] = self

    def release(self) -> None:
        """Delete the file and release the lock; a second call does nothing."""
        self.in_use = False
        if _locks.get(self._folder) is self:
            del _locks[self._folder]
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # the folder may have gone
                self._path.unlink()
            self._lock.release()


def check_unlocked(folder: Path) -> None:
    """Raise FileExistsError if a process works in the folder."""
    if (folder / NAME).exists():
        FolderLock(folder).release()


def _owner() -> dict[str, Any]:
    now = datetime.datetime.now().astimezone()
    return {"host": platform.node(), "pid": os.getpid(), "since": now.isoformat(timespec="seconds")}


def _refusal(folder: Path) -> str:
    return (
        f"a run folder has one process at a time, got {folder}, which is in use by {_name_owner(folder / NAME)}; "
        f"wait for it, stop it, or use another --out."
    )


def _name_owner(path: Path) -> str:
    """Return who holds the lock, from the text of its file."""
    try:
        owner = json.loads(path.read_bytes())
        return f"pid {owner['pid']} on host {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
