"""Files that a command writes: on disk whole and under their names, or not at all."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from deployments.errors import ConfigError

BLOCK_BYTES = 1 << 16  # read at once
PROBE_BYTES = 4096  # a block: a full disk still takes a file without content


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` as `path`; what had that name is replaced in one step.

    Raises:
        OSError: nothing was written, and what had that name is as it was.
    """
    if path.exists() and not path.is_file():  # a device or a pipe has no name to be replaced
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))  # a link stays one
    with _beside(path) as part:
        _write(part, data)
        part.replace(path)


@contextmanager
def whole_folder(folder: Path, last: str) -> Iterator[Path]:
    """A new folder to write into; its files have their places in `folder` when the block ends well.

    Where `folder` is missing it appears in one step. Where it is there, it may be a disk of its
    own: the new folder lies in it, and its files replace those of the same names, `last` as the
    last one.

    Raises:
        OSError: they cannot be moved.
    """
    there = folder.exists()
    part = (folder if there else folder.parent) / f".{uuid4().hex}.part"
    part.mkdir(parents=True)
    try:
        yield part
        if not there:
            part.rename(folder)
            return
        for path in sorted(part.rglob("*"), key=lambda path: path.name == last):
            target = folder / path.relative_to(part)
            target.mkdir(exist_ok=True) if path.is_dir() else path.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_folder(folder: Path, what: str) -> None:
    """Make `folder` where it is missing, and write a file there and delete it.

    Raises:
        ConfigError: it is no folder, or takes no file; `what` names it in the message.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{what} {folder} is a file, not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _beside(folder / "probe") as part:
            _write(part, bytes(PROBE_BYTES))
    except OSError as error:
        raise ConfigError(f"{what} {folder} cannot be written: {reason(error)}") from error


def require_new_file(path: Path, what: str, *, overwrite: bool) -> None:
    """Check that `path` can be written later, and that nothing is lost by that.

    Raises:
        ConfigError: it is a folder, its folder takes no file, or there is such a file and it may
            not be replaced; `what` names it in the message.
    """
    if path.is_dir():
        raise ConfigError(f"{what} {path} is a folder, not a file")
    if path.is_file() and not overwrite:
        raise ConfigError(f"{what} {path} exists; --overwrite replaces it")
    if not path.exists() or path.is_file():
        require_folder(path.parent, f"the folder of {what}")


def reason(error: OSError) -> str:
    """What went wrong, without the number and the path."""
    return error.strerror or str(error)


class LineLog:
    """A file of lines; each is whole and out of this process once `add` returns."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Make the file, or `resume` the one that is there: a last line without its end is cut off.

        Raises:
            FileExistsError: there is one of that name, and it is not to be resumed.
            BlockingIOError: another process has it open as its log.
            OSError: it cannot be made.
        """
        how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if resume else os.O_EXCL)
        self._fd = os.open(path, how, 0o666)
        try:
            _lock(self._fd)
            os.ftruncate(self._fd, _end_of_last_line(self._fd))
        except OSError:
            os.close(self._fd)
            raise

    def __enter__(self) -> "LineLog":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def add(self, line: bytes) -> None:
        """Append a line; one that does not fit on the disk leaves nothing behind.

        Raises:
            OSError: it was not written.
        """
        begin = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            _write_all(self._fd, line + b"\n")
        except OSError:
            os.ftruncate(self._fd, begin)
            raise


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name in the same folder, so that it can become `path` in one step; gone afterwards."""
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _write_all(fd, data)
        os.fsync(fd)  # else a power failure may leave the name and lose the content
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a disk that is nearly full takes a part
        rest = rest[os.write(fd, rest) :]


def _lock(fd: int) -> None:
    """Hold the file for this process, where its file system knows locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise


def _end_of_last_line(fd: int) -> int:
    """Where the last line that is whole ends; what is behind it was torn by a kill."""
    begin = os.fstat(fd).st_size
    while begin > 0:
        end, begin = begin, max(0, begin - BLOCK_BYTES)
        place = os.pread(fd, end - begin, begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
    return 0
