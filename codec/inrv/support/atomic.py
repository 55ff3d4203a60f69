"""Files that are, at any moment, the old file or the whole new one.

A writer that is killed leaves nothing behind. Where the system has files without a name (Linux, on
most file systems), the new file has no name until it is complete. Elsewhere it is written beside
the target as `.NAME.<random>.partial`, and the next run removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from inrv.errors import OutputError
from inrv.support.streams import PATH, Writable, write_through

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed: no lock is needed there
    fcntl = None  # type: ignore[assignment]

DESCRIPTORS = "/proc/self/fd"
RANDOM = "[0-9a-f]" * 8  # the pattern of the random part of a partial file's name
READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0)
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


def write_whole(target: Writable, write: Callable[[BinaryIO], None]) -> None:
    """Write a file whole, or not at all.

    target: path, see `atomic_file`, or binary file object
    write: function that writes to an empty file, in which it can also read and seek

    Raises OutputError where no file can be written at the path, and whatever a file object raises.
    """
    if isinstance(target, PATH):
        with atomic_file(target) as file:
            write(file)
        return
    whole = io.BytesIO()
    write(whole)
    write_through(target, whole.getbuffer())


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new binary file that becomes `path` when the block ends without an error.

    The file can be written and read. When the block has been left, the file is on the disk, and so
    is its name. A symbolic link stays one: the file that it leads to is written. A file that is
    replaced passes its mode on.

    Raises OutputError where `path` cannot be written, and for every OSError of the block; the old
    file is then untouched and nothing is left behind.
    """
    target = Path(path)
    try:
        mode = regular_mode(target)
        target = resolved(target)
        remove_partial(target)
        file, name = _new_file(target)
        try:
            if mode is not None:
                _set_mode(file, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            _publish(file, name, target)
        except BaseException:
            _discard(file, name)
            raise
        file.close()
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error


def regular_mode(target: Path) -> int | None:
    """Return the mode of the file that is there, None where there is none.

    Raises OutputError for a folder, a device or a pipe.
    """
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise OutputError(f"{target} cannot be written: it is {kind}")
    return stat.S_IMODE(mode)


def resolved(target: Path) -> Path:
    """Follow symbolic links to the path of the file, which need not exist yet."""
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _set_mode(file: BinaryIO, mode: int) -> None:
    """Give the file a mode, where the system and the file system have modes."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), mode)


def remove_partial(target: Path) -> None:
    """Remove what killed runs left beside `target`; files that others are writing stay."""
    for name in glob.glob(f".{glob.escape(target.name)}.{RANDOM}.partial", root_dir=target.parent):
        with contextlib.suppress(OSError):
            _remove_unless_locked(target.parent / name)


def _remove_unless_locked(path: Path) -> None:
    """Remove a partial file. Raises OSError where another process is writing it."""
    if fcntl is None:
        path.unlink()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


def _new_file(target: Path) -> tuple[BinaryIO, str | None]:
    """Create an empty, locked file in the folder of `target`; return it and its path or None."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir(DESCRIPTORS):
        # Where this fails, the file system has no such files, or the named file fails alike.
        with contextlib.suppress(OSError):
            descriptor = os.open(target.parent, READ_WRITE | os.O_TMPFILE, 0o666)
            _lock(descriptor)
            return _opened(descriptor), None
    while True:
        name = _partial_name(target)
        descriptor = os.open(name, READ_WRITE | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor):
            return _opened(descriptor), name
        os.close(descriptor)


def _partial_name(target: Path) -> str:
    return str(target.parent / f".{target.name}.{secrets.token_hex(4)}.partial")


def _opened(descriptor: int) -> BinaryIO:
    return cast(BinaryIO, os.fdopen(descriptor, "w+b"))


def _lock(descriptor: int) -> bool:
    """Lock a file against `remove_partial`, where there are locks.

    Return False where `remove_partial` was faster and removes the file.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks: nobody can lock, so nobody removes
        return True
    return os.fstat(descriptor).st_nlink > 0


def _publish(file: BinaryIO, name: str | None, target: Path) -> None:
    """Give the complete file the name `target`, in place of the file that has it."""
    if name is not None:
        if fcntl is None:
            file.close()  # Windows does not rename what is open
        os.replace(name, target)
        return
    if not os.path.lexists(target):
        with contextlib.suppress(FileExistsError):
            _link(file, str(target))
            return
    between = _partial_name(target)  # a link cannot replace, a rename can
    try:
        _link(file, between)
        os.replace(between, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(between)
        raise


def _link(file: BinaryIO, path: str) -> None:
    # For an absolute path `src_dir_fd` does nothing but make Python follow the link to the file.
    os.link(f"{DESCRIPTORS}/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)


def _discard(file: BinaryIO, name: str | None) -> None:
    """Close and remove a file that is not complete; further errors do not matter."""
    with contextlib.suppress(OSError):
        file.close()
    if name is not None:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _sync_folder(folder: Path) -> None:
    """Bring the name onto the disk too, where folders can be synchronised."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
