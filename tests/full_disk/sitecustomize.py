"""Python imports this first where its folder is in ``PYTHONPATH``: from a chosen write on, the disk is full.

    FULL_DISK_UNDER   folder whose disk it is
    FULL_DISK_AT      number of the write that fails, from 1; all that follow fail, too
    FULL_DISK_COUNT   file with one byte per write, of all processes together

Writes, flushes to disk, new files and folders, and renames count. Deleting works, as it does on a full disk.
"""

import builtins
import errno
import functools
import io
import os
from collections.abc import Callable
from typing import Any

UNDER = os.path.realpath(os.environ["FULL_DISK_UNDER"])
AT = int(os.environ["FULL_DISK_AT"])
COUNT = os.environ["FULL_DISK_COUNT"]
open_file, open_descriptor = io.open, os.open


def spend(place: Any, *names: Any) -> None:
    """Counts a write to ``place``, a path or a descriptor; raises the error of a full disk, with ``names``."""
    if isinstance(place, int):
        place = os.readlink(f"/proc/self/fd/{place}")
    if not os.path.realpath(os.fspath(place)).startswith(UNDER + os.sep):
        return
    counter = open_descriptor(COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(counter, b".")
    count = os.fstat(counter).st_size
    os.close(counter)
    if count >= AT:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


class CountedFile:
    """A file whose writes are counted."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> Any:
        spend(self._file.fileno())
        return self._file.write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "CountedFile":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)


def counted_open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    if not set(mode) & set("wax+"):
        return open_file(file, mode, *arguments, **named)
    if not isinstance(file, int):
        spend(file, file)
    opened = open_file(file, mode, *arguments, **named)
    under = os.path.realpath(f"/proc/self/fd/{opened.fileno()}").startswith(UNDER + os.sep)
    return CountedFile(opened) if under else opened


def counted_descriptor(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
    if flags & os.O_CREAT:
        spend(path, path)
    return open_descriptor(path, flags, *arguments, **named)


def counted(function: Callable[..., Any], place: int, is_descriptor: bool) -> Callable[..., Any]:
    """A function of :mod:`os` whose argument number ``place`` is what it writes to."""

    @functools.wraps(function)
    def counting(*arguments: Any, **named: Any) -> Any:
        spend(arguments[place], *([] if is_descriptor else [arguments[place]]))
        return function(*arguments, **named)

    return counting


builtins.open = io.open = counted_open
os.open = counted_descriptor
os.fsync = counted(os.fsync, 0, is_descriptor=True)
os.sendfile = counted(os.sendfile, 0, is_descriptor=True)
os.mkdir = counted(os.mkdir, 0, is_descriptor=False)
os.rename = counted(os.rename, 1, is_descriptor=False)
os.replace = counted(os.replace, 1, is_descriptor=False)
