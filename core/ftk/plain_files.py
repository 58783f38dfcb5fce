"""Read what lies in a folder that may have been copied, cut short or made by somebody else.

Nothing here waits: a pipe or a device in the place of a file is refused, and so is a file of a size that ftk never
writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_LIMIT = 4 * 2**20


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is no regular file.

    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would hold us for ever
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_text(path: Path, limit: int = _LIMIT) -> str:
    """The content of a small UTF-8 file.

    Args:
        path: The file.
        limit: The most that is read, in bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than `limit`.
        ValueError: it is not UTF-8.

    """
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too large", str(path))
    return data.decode()


def tree_bytes(folder: Path) -> int:
    """What the files below a folder hold, in bytes; links are not followed, what cannot be read counts nothing."""
    total, left = 0, [folder]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
