"""Reads a file of the one who is judged: a plain one, of a size that it can rightly be, or none."""

import errno
import os
import stat
from pathlib import Path


def read_plain(path: Path, bytes_max: int) -> bytes:
    """A plain file's bytes. OSError for what would be waited for, has no end, or is larger than it can rightly be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > bytes_max:
            raise OSError(errno.EFBIG, f"is no plain file of at most {bytes_max} bytes", str(path))
        content = os.read(descriptor, status.st_size)
        # Nearly always all of it; a signal may cut a read short.
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)
