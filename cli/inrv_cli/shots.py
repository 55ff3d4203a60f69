"""Many frames as one thing: a sequence, or files with the numbers of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from inrv.errors import MissingFrameError
from inrv_cli.failure import USAGE, Failure
from inrv_cli.files import check_input, is_stdin, numbered, print_remarks, read_input
from inrv_cli.frames import Number, Source, expand
from inrv_cli.opening import decode_grids, is_coded, read_grids
from inrv_cli.text import counted

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume
    from inrv.support.inputs import Input

Read = Callable[[Number, Sequence[str]], "SparseVolume"]


@dataclass(frozen=True)
class Files:
    """The files of many frames.

    name: the pattern or folder that stands for them
    sources: each by the number of its frame
    """

    name: str
    sources: dict[Number, Source]

    def of_frame(self, frame: Number | None) -> Source:
        """Return the file of the frame that --frame names. Raises MissingFrameError, UsageError."""
        if frame is None:
            count = counted(len(self.sources), "file")
            raise click.UsageError(f"{self.name} stands for {count}: choose one with --frame")
        if frame not in self.sources:
            raise MissingFrameError(f"{self.name}: there is no file of frame {frame}")
        return self.sources[frame]


@dataclass(frozen=True)
class Shots:
    """Many frames, in one file or in many.

    name: for messages
    numbers: of the frames, ascending
    bytes: of all files
    read: gives the grids of a frame, or those that names and positions choose
    """

    name: str
    numbers: tuple[Number, ...]
    bytes: int
    read: Read


def files_of(source: Source) -> Files | None:
    """Return the files of frames that an argument stands for, or None where it is one file.

    source: a pattern, a folder or a glob; or a file or URL
    """
    if isinstance(source, str) or is_stdin(source):
        return None
    from inrv.files import SUFFIXES

    found = expand([str(source)], SUFFIXES)
    if found.files == [(source, None)]:
        return None
    print_remarks(found.remarks)
    return Files(str(source), numbered(found))


def shots_of(side: Files | Input, device: str | None, limits: Limits) -> Shots | None:
    """Return the frames of files or of a sequence, or None where `side` is one volume."""
    if isinstance(side, Files):
        return _of_files(side, device, limits)
    return _of_sequence(side, device, limits)


def _of_files(files: Files, device: str | None, limits: Limits) -> Shots:
    """Return frames that are in a file each. Raises Failure where one cannot be opened."""
    size = 0
    for source in files.sources.values():
        check_input(source)
        size += read_input(source).size

    def read(number: Number, grids: Sequence[str]) -> SparseVolume:
        import inrv

        file = read_input(files.sources[number])
        if not is_coded(file):
            return read_grids(file, grids)
        volume = inrv.load(file, device, limits)
        if volume.frames.is_sequence:
            raise Failure(USAGE, f"{file.name} is a sequence: compare it alone")
        return decode_grids(volume, grids)

    return Shots(files.name, tuple(files.sources), size, read)


def _of_sequence(file: Input, device: str | None, limits: Limits) -> Shots | None:
    """Return the frames of a sequence, or None where the file is none."""
    if not is_coded(file):
        return None
    from inrv.decoding.frames import open_frames

    frames = open_frames(file, device, limits)
    if not frames.is_sequence:
        return None
    return Shots(
        frames.name,
        frames.numbers,
        file.size,
        lambda number, grids: decode_grids(frames[number], grids),
    )
