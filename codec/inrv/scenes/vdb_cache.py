"""A folder of .vdb files that frames were decoded into, for programs that read nothing else.

The name of a file tells the bytes that it was decoded from, so that what has the name is never out
of date, and never half a file: `fire.3f9a01c2b7.0060.vdb` is frame 60 of fire.inrv.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path, PurePath

from inrv.decoding.volume import Volume
from inrv.errors import OptionError, OutputError
from inrv.files import SUFFIXES

SUFFIX = SUFFIXES[0]
FINGERPRINT_BYTES = 5
LONGEST_STEM = 80  # characters of a name: file systems take 255 bytes
# The names of a cache, which tell its files from those that others keep in the folder.
NAME = re.compile(
    rf".+\.[0-9a-f]{{{2 * FINGERPRINT_BYTES}}}(\.lod[0-6])?(\.-?[0-9]+(\.[0-9]+)?)?{SUFFIX}"
)


class VdbCache:
    """A folder of decoded frames. Several programs and threads may use one folder.

    folder: it is made when a frame is decoded
    most_bytes: what `trim` leaves of its files; None: all

    Raises OptionError where `most_bytes` is no number of bytes.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        if most_bytes is not None and most_bytes < 0:
            raise OptionError(f"most_bytes is {most_bytes}: it must be a number of bytes")
        self.folder, self.most_bytes = folder, most_bytes

    def path_of(self, volume: Volume, level: int = 0) -> Path:
        """Give the file of a frame, which need not be there yet.

        volume: the frame
        level: of detail, 0 to 6
        """
        parts = [_stem(volume.container.name), fingerprint(volume)]
        parts += [f"lod{level}"] if level else []
        parts += [frame_text(volume.number)] if volume.frames.is_sequence else []
        return self.folder / (".".join(parts) + SUFFIX)

    def fetch(self, volume: Volume, level: int = 0) -> Path:
        """Give the file of a frame, and decode the frame where the file is missing.

        volume, level: as `path_of` takes them
        Raises FormatError, and OutputError where the file cannot be written.
        """
        path = self.path_of(volume, level)
        if path.is_file():
            with contextlib.suppress(OSError):
                path.touch()  # `trim` goes by the time of the last use
            return path
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the cache folder {self.folder} cannot be made: {error.strerror or error}"
            ) from error
        volume.to_vdb(path, level)
        return path

    def files(self) -> list[Path]:
        """Give the decoded frames that are there, the one that was used longest ago first."""
        found = list[tuple[float, Path]]()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    if NAME.fullmatch(path.name):
                        found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found)]

    def trim(self, keep: Collection[Path] = ()) -> list[Path]:
        """Remove the files that were not used for longest, down to `most_bytes`.

        keep: files that stay whatever they take, as those that are shown
        Gives the files that were removed. One that another program holds open may stay.
        """
        return self._removed(self.most_bytes, keep)

    def purge(self, keep: Collection[Path] = ()) -> list[Path]:
        """Remove all decoded frames but those of `keep`, and give them."""
        return self._removed(0, keep)

    def _removed(self, most: int | None, keep: Collection[Path]) -> list[Path]:
        files = self.files()
        sizes = {path: _size(path) for path in files}
        removed, left = [], sum(sizes.values())
        for path in files:
            if most is None or left <= most:
                break
            if path not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed.append(path)
                    left -= sizes[path]
        return removed


def fingerprint(volume: Volume) -> str:
    """Tell the bytes of the container that holds a frame, in hexadecimal digits.

    Its header has the checksums of manifest and chunk table, and the table those of all chunks.
    """
    digest = hashlib.blake2b(volume.container.header, digest_size=FINGERPRINT_BYTES)
    return digest.hexdigest()


def frame_text(number: float | int) -> str:
    """Write the number of a frame as names of files have it: 0060, -002 and 0001.25."""
    whole, dot, fraction = format(Decimal(repr(number)), "f").partition(".")
    return f"{whole.zfill(4)}{dot}{fraction}"


def _stem(name: str) -> str:
    """Give what a file is called, in characters that every program takes in a path."""
    stem = PurePath(name.partition("?")[0].rstrip("/").rpartition("/")[2]).stem
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:LONGEST_STEM] or "volume"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
