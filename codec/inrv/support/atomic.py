"""Files and folders that appear whole or not at all, even if the writer is killed.

A file is at any moment the old one or the whole new one.

Where the system has files without a name (Linux, on most file systems) the new file has none until
it is complete. Elsewhere it is written beside the target as `.NAME.<random>.partial`, and the next
run removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
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
RANDOM = "[0-9a-f]" * 8  # what stands in the name of a partial file, as a pattern
READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0)
# What a folder takes to be gone where threads may still write into it.
MOST_REMOVALS, SECONDS_BETWEEN = 60, 0.05
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


def write_whole(target: Writable, write: Callable[[BinaryIO], None]) -> None:
    """Write a file whole, or not at all.

    target: a path, see `atomic_file`, or a binary file object
    write: writes to an empty file, which can be read and sought in too
    Raises OutputError where no file can be written at the path. What a file object raises is passed
    on.
    """
    if isinstance(target, PATH):
        with atomic_file(target) as file:
            write(file)
        return
    whole = io.BytesIO()
    write(whole)
    write_through(target, whole.getbuffer())


def write_pieces(target: Writable, pieces: Iterable[bytes]) -> None:
    """Write pieces of a file one behind the other; they are never joined in memory.

    target: a path, see `atomic_file`, or a binary file object
    Raises OutputError where no file can be written at the path; nothing is left behind then. What a
    file object raises is passed on.
    """
    if not isinstance(target, PATH):
        for piece in pieces:
            write_through(target, piece)
        return
    with atomic_file(target) as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new binary file that becomes `path` when the block ends without an error.

    It can be written and read. It is on the disk, and so is its name, when the block has been left.
    A symbolic link stays one: what it leads to is written. A file that is replaced hands down its
    mode. Raises OutputError where `path` cannot be written, and for every OSError of the block; the
    old file is then untouched and nothing is left behind.
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


@contextmanager
def atomic_folder(path: str | os.PathLike[str], replaces: Callable[[str], bool]) -> Iterator[Path]:
    """Make a folder that becomes `path` when the block ends without an error.

    It is on the disk, and so is its name, when the block has been left. A folder that is replaced
    is set aside first and removed last, so that for a moment none has the name.

    replaces: tells whether a folder that is there may be replaced
    Raises OutputError where `path` cannot be written, and for every OSError of the block; the old
    folder is then untouched and nothing is left behind.
    """
    target = resolved(Path(path))
    if os.path.lexists(target) and not (target.is_dir() and replaces(str(target))):
        raise OutputError(f"{target} cannot be written: something else has its name")
    try:
        with folder_beside(target, "partial") as around:
            made = around / target.name
            made.mkdir()
            yield made
            _sync_tree(made)
            _publish_folder(made, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error


@contextmanager
def folder_beside(target: Path, ending: str) -> Iterator[Path]:
    """Make a folder beside an output for what becomes it, which is gone when the block is left.

    Those that killed runs have left are removed too, where there are locks.

    ending: of its name, `.NAME.<8 hex digits>.ENDING`
    Raises OutputError.
    """
    import glob  # brings re and fnmatch

    for left in target.parent.glob(f".{glob.escape(target.name)}.{RANDOM}.{ending}"):
        if left.is_dir() and (lock := _lock_folder(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.{ending}")
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    held = _lock_folder(folder)
    try:
        yield folder
    except BaseException:
        _remove_late(folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _remove_late(folder: Path) -> None:
    """Remove a folder into which threads may still write, as zarr's do behind an error or Ctrl-C.

    It is removed until it stays away, for some seconds at most.
    """
    gone = 0
    for _ in range(MOST_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(SECONDS_BETWEEN)
        gone = 0 if folder.exists() else gone + 1
        if gone == 2:
            return


def _lock_folder(folder: Path) -> int | None:
    """Lock a folder, so that no other run removes it.

    Gives the descriptor that holds the lock; None where another one has it or there are no locks.
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sync_tree(folder: Path) -> None:
    """Bring all files below a folder onto the disk."""
    for own, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(own, name), READ_WRITE)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_folder(Path(own))


def _publish_folder(made: Path, target: Path) -> None:
    """Give a complete folder the name `target`, replacing what has it."""
    if not os.path.lexists(target):
        os.rename(made, target)
        return
    # No system call of Python exchanges two folders. The old one does not go into the folder that
    # the next run removes, because there it would be lost if this one were killed now.
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    os.rename(target, old)
    try:
        os.rename(made, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def regular_mode(target: Path) -> int | None:
    """Give the mode of the file that is there, None where none is.

    Raises OutputError for a folder, a device and a pipe.
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
    """Give the path at which a file of this name comes to lie.

    Symbolic links are followed, also to where there is no file yet.
    """
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _set_mode(file: BinaryIO, mode: int) -> None:
    """Give the file a mode, where the system and the file system have modes."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), mode)


def remove_partial(target: Path) -> None:
    """Remove what killed runs left beside `target`; files that others are writing stay."""
    import glob  # brings re and fnmatch

    for name in glob.glob(f".{glob.escape(target.name)}.{RANDOM}.partial", root_dir=target.parent):
        with contextlib.suppress(OSError):
            _remove_unless_locked(target.parent / name)


def _remove_unless_locked(path: Path) -> None:
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
    """Make an empty, locked file in the folder of `target`; None for its path if it has no name."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir(DESCRIPTORS):
        # The file system has none, or what is wrong is told of the named file.
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

    Gives False where that was faster and removes the file.
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
    """Give the complete file the name `target`, replacing what has it."""
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
    # `src_dir_fd` has no say for an absolute path, but makes Python follow the link to the file.
    os.link(f"{DESCRIPTORS}/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)


def _discard(file: BinaryIO, name: str | None) -> None:
    """Close and remove the file; that it cannot be written once more is of no interest."""
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
