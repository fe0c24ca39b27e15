"""Whole files in a folder or an object store: there is all of a file under its name, or nothing."""

import errno
import os
import time
from pathlib import Path
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import ConfigError

PART_LIFE_S = 3600.0  # a part that is older was left by a process that died
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP)


class Folder:
    """Files of one folder of an fsspec filesystem. All calls block."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    @property
    def local_path(self) -> Path | None:
        """Where it is on this machine; None if it is elsewhere."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def create(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet.

        Raises:
            FileExistsError: there is one; of several writers one succeeds.
        """
        if (local := self.local_path) is not None:
            local.mkdir(parents=True, exist_ok=True)
            _create_local(local, name, data)
            return
        try:  # object stores show a file when all of it is there
            self._fs.pipe_file(self._path(name), data, mode="create")
        except FileNotFoundError:  # others want a folder; to make one may need a right of its own
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(self._path(name), data, mode="create")

    def head(self, name: str, size: int) -> bytes:
        """The first `size` bytes of a file. Raises FileNotFoundError if there is none."""
        data: bytes = self._fs.cat_file(self._path(name), start=0, end=size)
        return data

    def heads(self, names: list[str], size: int) -> list[bytes]:
        """The first `size` bytes of those files that are still there."""
        read = self._fs.cat_ranges([self._path(name) for name in names], 0, size)
        for answer in read:
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer
        return [answer for answer in read if not isinstance(answer, Exception)]

    def read(self, name: str) -> bytes:
        """All of a file. Raises FileNotFoundError if there is none."""
        data: bytes = self._fs.cat_file(self._path(name))
        return data

    def names(self, suffix: str) -> list[str]:
        """The files that are there now and whose names end so."""
        self._fs.invalidate_cache()  # others write, too
        try:
            paths = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:  # nothing was written so far
            return []
        names = (str(path).rpartition("/")[2] for path in paths)
        return [name for name in names if name.endswith(suffix) and not name.startswith(".")]

    def delete(self, name: str) -> None:
        """Raises FileNotFoundError if there is no such file."""
        self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def folder_of(url: str, key: str = "voice_store") -> Folder:
    """The folder that `url` names: a path from `/` or `~`, or a URL of fsspec's.

    `key` is the configuration's, for errors.

    Raises:
        ConfigError: it is a relative path, a protocol that fsspec does not know, or one whose
            package is not installed.
    """
    is_path = "://" not in url
    if is_path and not url.startswith(("/", "~")):
        raise ConfigError(
            f"{key} {url!r}: replicas have folders of their own to start from; "
            "give a path from / or ~, or a URL such as s3://bucket/voices"
        )
    if "::" in url:
        raise ConfigError(f"{key} {url!r}: a cache or an archive cannot be shared")
    try:
        url = str(Path(url).expanduser()) if is_path else url
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{key} {url!r}: {error}") from error
    return Folder(fs, root)


def _create_local(root: Path, name: str, data: bytes) -> None:
    _sweep(root)
    part = root / f".{uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave the name and lose the content
        _name(part, root / name)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, path: Path) -> None:
    """Give a part its name, in one step, unless another file has it."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A disk without hard links (a USB stick, some network folders): whole, but of two that
        # come within the same millisecond the later one stays.
        if path.exists():
            raise FileExistsError(path) from None
        part.rename(path)


def _sweep(root: Path) -> None:
    for part in root.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > PART_LIFE_S:
                part.unlink()
        except FileNotFoundError:  # another replica sweeps
            continue
