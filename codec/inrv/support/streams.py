"""What a caller may give for a file: its path, its URL, its bytes, or a binary file object."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import IO, TypeAlias
from urllib.parse import urlsplit

from inrv.errors import OptionError
from inrv.support.inputs import BytesInput, FileInput, FolderInput, Input

# The scheme of a URL, or several as fsspec chains them. A single letter is a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:_-]+://")


PATH = (str, os.PathLike)
Readable: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Input
Writable: TypeAlias = str | os.PathLike[str] | IO[bytes]


def is_url(text: object) -> bool:
    """Return whether a text is a URL, as https://host/fog.inrv, and not a path."""
    return isinstance(text, str) and _SCHEME.match(text) is not None


def input_of(source: Readable) -> Input:
    """Give the input that a path, a URL, bytes or a file object stands for.

    A file object, from where it stands, and a named pipe are read to their ends: their bytes may be
    had only once, or their owner may close or move them.

    Raises OptionError where `source` is something else, MissingPackageError where a package for its
    URL is missing, OSError where it cannot be read.
    """
    if isinstance(source, Input):
        return source
    if isinstance(source, PATH):
        return _input_at(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesInput("<bytes>", bytes(source))
    return _read_through(source)


def _input_at(name: str) -> Input:
    """Give the input at a path or URL."""
    if is_url(name):
        from inrv.support.remote import RemoteInput

        if not name.lower().startswith("file://"):
            return RemoteInput(name)
        from urllib.request import url2pathname  # brings http and email

        name = url2pathname(urlsplit(name).path)
    if _is_pipe(name):
        return BytesInput(name, Path(name).read_bytes())
    if os.path.isdir(name):
        return FolderInput(name, os.path.abspath(name))
    return FileInput(name, os.path.abspath(name))


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):  # whoever opens it tells what is wrong
        return False


def _read_through(source: IO[bytes]) -> Input:
    if not hasattr(source, "read"):
        raise OptionError(
            f"source is of type {type(source).__name__}: "
            "give a path, a URL, bytes or a binary file object"
        )
    if isinstance(source, io.TextIOBase):
        raise OptionError("source is a text file: open it as a binary one, with mode 'rb'")
    name = getattr(source, "name", None)
    name = name if isinstance(name, str) else f"<{type(source).__name__}>"
    return BytesInput(name, bytes(source.read()))


def check_writable(target: Writable) -> None:
    """Raise OptionError, before work is done for it, where nothing can be written to `target`.

    It is to be a path, not a URL, or a binary file object that is open for writing.
    """
    if isinstance(target, PATH):
        _check_path(os.fspath(target))
        return
    if not hasattr(target, "write"):
        raise OptionError(
            f"output is of type {type(target).__name__}: give a path or a binary file object"
        )
    if isinstance(target, io.TextIOBase):
        raise OptionError("output is a text file: open it as a binary one, with mode 'wb'")
    if getattr(target, "closed", False) or not getattr(target, "writable", lambda: True)():
        raise OptionError("output is a file object that is closed or not open for writing")


def _check_path(name: str) -> None:
    if is_url(name):
        from inrv.support.remote import shown_url

        raise OptionError(
            f"output {shown_url(name)} is a URL, and files are written to paths: name a path, "
            "and upload the file"
        )
    try:
        os.stat(name)
    except OSError:
        return  # nothing is there yet, or whoever writes tells what is wrong
    except ValueError as error:  # a NUL in the path, or a surrogate that stands for no byte
        raise OptionError(f"output {name!r} is no path: {error}") from error


def write_through(target: IO[bytes], data: bytes | memoryview) -> None:
    """Write all of `data` to a file object. Raises what that raises."""
    left = memoryview(data)
    while left:  # without a buffer less than all may be taken at a time
        taken = target.write(left)
        left = left[len(left) if taken is None else taken :]
    target.flush()
