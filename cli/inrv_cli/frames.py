"""The files that inputs stand for.

A pattern such as fire.####.vdb stands for frames. A glob or a folder stands for every file in it,
but a folder that is itself a volume, as a Zarr store is, stands for that.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeAlias

import click

from inrv.support.inputs import FileInput
from inrv.support.streams import is_url
from inrv_cli.failure import INPUT, Failure

Source: TypeAlias = Path | str  # an input; a URL stays a text
Number: TypeAlias = float | int  # of a frame

_PLACE = re.compile(r"#+|%[0-9]*d|\$F[0-9]*")
# A single @ within words is a letter, as in render@2x.
_PLACE_OF_AT = re.compile(r"@@+|(?<![0-9A-Za-z])@(?![0-9A-Za-z])")
_NUMBER = r"(-?)([0-9]+)((?:\.[0-9]+)?)"
# The hyphen of fire-0001 is not a sign.
_LAST_NUMBER = re.compile(r"(.*?)((?:(?<![0-9A-Za-z])-)?[0-9]+)([^0-9]*)")
# The whole part of a subframe, which stands before its fraction. The 2 of v2.0001 is none.
_WHOLE_PART = re.compile(r"(?<![0-9A-Za-z])[0-9]+\.$")
_ANY_NUMBER = re.compile(r"((?:(?<![0-9A-Za-z])-)?[0-9]+)")
_MOST_DIGITS_OF_WIDTH = 3  # a file's name has at most 255 characters
_MOST_FRAMES_NAMED = 10_000  # one by one, of the frames that are missing
_MOST_FILES_NAMED = 3  # one by one, of the files that are left out


@dataclass(frozen=True)
class Found:
    """The files that inputs stand for.

    files: each with its frame number as its name writes it; None where no pattern found the file
    remarks: for the user
    patterns: those that found files, without their folders
    """

    files: list[tuple[Source, str | None]]
    remarks: list[str]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class FramePattern:
    """The name of a file, with a place for a frame number.

    before: what stands before the place
    place: the characters that stand for the number
    after: what stands after the place
    width: the least count of digits
    """

    before: str
    place: str
    after: str
    width: int

    @classmethod
    def parse(cls, name: str) -> FramePattern | None:
        """Return the pattern that `name` is, or None where it has no place for a number."""
        places = list(_PLACE.finditer(name)) or list(_PLACE_OF_AT.finditer(name))
        if not places:
            return None
        if len(places) > 1:
            raise click.UsageError(
                f"{name!r} holds more than one run of #, @, %d or $F: "
                "a pattern can have only one frame number"
            )
        place = places[0]
        if len(re.sub("[^0-9]", "", place[0])) > _MOST_DIGITS_OF_WIDTH:
            raise click.UsageError(
                f"{name[:99]!r} asks for more digits than a file's name can have"
            )
        return cls(name[: place.start()], place[0], name[place.end() :], _width(place[0]))

    def number_in(self, name: str) -> str | None:
        """Return the number that `name` has in the place, or None where it does not match."""
        match = re.fullmatch(re.escape(self.before) + f"({_NUMBER})" + re.escape(self.after), name)
        return None if match is None else match[1]

    def takes(self, number: str) -> bool:
        """Return whether the number has `width` digits, or more where it needs them."""
        sign, digits, _ = _parts(number)
        wider = len(digits) > self.width and digits[0] != "0"
        return wider or len(digits) in (self.width, self.width - len(sign))

    def fill(self, number: str) -> str:
        """Return the name of a frame. A number that the pattern takes stays as it is written."""
        if not self.takes(number):
            sign, digits, fraction = _parts(number)
            number = sign + str(int(digits)).zfill(self.width - len(sign)) + fraction
        return f"{self.before}{number}{self.after}"

    def __str__(self) -> str:
        return f"{self.before}{self.place}{self.after}"


def _width(place: str) -> int:
    """Return the count of digits that a place stands for."""
    from fileseq.constants import PAD_STYLE_HASH1
    from fileseq.filesequence import FileSequence

    return max(1, FileSequence.getPaddingNum(place, pad_style=PAD_STYLE_HASH1))


def _parts(number: str) -> tuple[str, str, str]:
    """Return the sign, the digits, and the fraction of a subframe."""
    match = re.fullmatch(_NUMBER, number)
    assert match is not None
    return match[1], match[2], match[3]


def expand(inputs: Sequence[str], suffixes: tuple[str, ...]) -> Found:
    """Return every file that the inputs stand for.

    inputs: files, URLs, folders, globs and frame patterns
    suffixes: of the files that a folder or a glob stands for
    """
    found = [_find(text, suffixes) for text in inputs]
    files = [file for each in found for file in each.files]
    _check_series([path for path, _ in files if isinstance(path, Path)])
    return Found(
        files,
        [line for each in found for line in each.remarks],
        tuple(pattern for each in found for pattern in each.patterns),
    )


def _check_series(files: Sequence[Path]) -> None:
    """Raise Failure where pictures of one DICOM series are among files: each stands for all of it.

    The first two of each folder are looked at.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() == ".dcm" and path.is_file() and path not in folders[path.parent]:
            folders[path.parent].append(path)
    for own in folders.values():
        if len(own) == 1:
            continue
        from inrv.files.images.dicom import are_of_one_series

        if are_of_one_series(*(FileInput(str(path), str(path)) for path in own[:2])):
            raise Failure(
                INPUT,
                f"{own[0]} and {own[1]} are pictures of one DICOM series, and either stands for "
                "all of it: name one of them, or a folder that holds DICOM files alone",
            )


def _find(text: str, suffixes: tuple[str, ...]) -> Found:
    """Return the files that one input stands for."""
    if is_url(text):
        return Found([(text, None)], [])
    path = Path(text)
    if path.is_dir() and not _is_volume(path, suffixes):
        return _all_of(path.glob("*"), suffixes, f"{path} holds no {' or '.join(suffixes)} file")
    if path.exists():
        return Found([(path, None)], [])
    pattern = FramePattern.parse(path.name)
    if pattern is not None:
        return _frames(path.parent, pattern)
    if glob.has_magic(text):
        found = map(Path, glob.glob(text, recursive=True))
        return _all_of(found, suffixes, f"no {' or '.join(suffixes)} file matches {text}")
    return Found([(path, None)], [])


def _frames(folder: Path, pattern: FramePattern) -> Found:
    """Return the frames of a pattern in a folder, in the order of their numbers."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    numbers = {name: number for name in names if (number := pattern.number_in(name)) is not None}
    taken = sorted(
        (name for name in numbers if pattern.takes(numbers[name])),
        key=lambda name: (Decimal(numbers[name]), name),
    )
    left_out = _left_out(pattern, sorted(numbers.keys() - set(taken), key=_natural))
    if not taken:
        raise Failure(INPUT, ": ".join([f"no file matches {folder / str(pattern)}", *left_out]))
    gaps = _gaps(pattern, [numbers[name] for name in taken])
    files: list[tuple[Source, str | None]] = [(folder / name, numbers[name]) for name in taken]
    return Found(files, [*left_out, *gaps], (str(pattern),))


def _left_out(pattern: FramePattern, names: Sequence[str]) -> list[str]:
    """Return a line that names files whose numbers the pattern does not take."""
    if not names:
        return []
    more = len(names) - _MOST_FILES_NAMED
    files = ", ".join(names[:_MOST_FILES_NAMED]) + (f" and {more} more" if more > 0 else "")
    return [
        f"{pattern} leaves out {files}: its numbers have {pattern.width} digits, "
        "or more without a zero in front"
    ]


def _gaps(pattern: FramePattern, numbers: Iterable[str]) -> list[str]:
    """Return a line that names the frames missing between the first and the last."""
    whole = sorted({int(Decimal(number)) for number in numbers})
    missing = _missing(whole)
    if not missing:
        return []
    if missing > _MOST_FRAMES_NAMED:
        return [
            f"{pattern} has {len(whole):,} frames from {whole[0]} to {whole[-1]}: "
            f"{missing:,} are missing"
        ]
    absent = sorted(set(range(whole[0], whole[-1])) - set(whole))
    return [f"{pattern} has no {frames_named(absent, pattern.width)}"]


def _missing(whole: Sequence[int]) -> int:
    return whole[-1] - whole[0] + 1 - len(whole)


def _all_of(paths: Iterable[Path], suffixes: tuple[str, ...], none: str) -> Found:
    """Return the files with one of the suffixes that are not hidden, and remarks on missing frames.

    A folder that is a volume is among them. Numbers whose header is among them are left out: it
    stands for both.

    none: what the Failure says where there is no such file
    """
    files = [path for path in paths if path.name[0] != "." and _is_wanted(path, suffixes)]
    if not files:
        raise Failure(INPUT, none)
    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in files:
        if (match := _LAST_NUMBER.fullmatch(path.stem)) is not None:
            families[os.path.join(path.parent, match[1]), match[3] + path.suffix].append(match[2])
    remarks = [
        line
        for (before, after), numbers in sorted(families.items())
        for line in _gaps_of(before, after, numbers)
    ]
    return Found(
        [(path, None) for path in sorted(files, key=lambda path: _natural(str(path)))], remarks
    )


def _is_wanted(path: Path, suffixes: tuple[str, ...]) -> bool:
    if path.is_dir():
        return _is_volume(path, suffixes)
    from inrv.files import is_beside_header

    found = path.name.lower().endswith(suffixes) and path.is_file()
    return found and not is_beside_header(str(path))


def _is_volume(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Return whether a folder is a volume, where such are wanted: not where .inrv files alone are.

    suffixes: of the files that are wanted
    """
    from inrv import files

    return not set(suffixes).isdisjoint(files.SUFFIXES) and files.is_volume(folder)


def _gaps_of(before: str, after: str, numbers: list[str]) -> list[str]:
    """Return a line that names missing frames, for files that the user has not called frames.

    They seem to be frames where fewer are missing than are there.
    """
    whole = {int(number) for number in numbers}
    if _missing(sorted(whole)) >= len(whole):
        return []
    width = min(len(number) for number in numbers)
    return _gaps(FramePattern(before, "#" * width, after, width), numbers)


def _natural(name: str) -> list[str | int]:
    """Return a key that puts frame 10 behind frame 9, and -1 before both."""
    parts = _ANY_NUMBER.split(str(Path(name).with_suffix("")))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def last_number(path: Path) -> str:
    """Return the last number in the name of a file that no pattern found.

    Raises UsageError where there is none, or where it may be the fraction of a subframe.
    """
    match = _LAST_NUMBER.fullmatch(path.stem)
    if match is None:
        raise click.UsageError(f"{path} has no frame number in its name, and needs one here")
    if _WHOLE_PART.search(match[1]):
        raise click.UsageError(
            f"{path} may be frame {match[2]} or a subframe: "
            "write the inputs as a pattern with #### too"
        )
    return match[2]


def frame_number(text: str) -> Number:
    """Return the number of a frame; a subframe's has a fraction. Raises UsageError."""
    try:
        found = Decimal(text)
        number = float(found)
    except (InvalidOperation, ValueError, OverflowError):
        raise click.UsageError(f"{text!r} is not the number of a frame") from None
    if not math.isfinite(number):
        raise click.UsageError(f"{text!r} is not the number of a frame")
    return int(found) if found == found.to_integral_value() else number


def frames_in(text: str) -> list[Number]:
    """Return the frames of a range, as '60-64', '1-99x2' or '60,62'. Raises UsageError."""
    from fileseq.constants import MAX_FRAME_SIZE
    from fileseq.exceptions import MaxSizeException, ParseException
    from fileseq.frameset import FrameSet

    try:
        return [frame_number(str(number)) for number in FrameSet(text)]
    except MaxSizeException as error:
        raise click.UsageError(
            f"--frames {text} stands for more than {MAX_FRAME_SIZE:,} frames: give a shorter range"
        ) from error
    except ParseException as error:
        raise click.UsageError(
            f"--frames {text!r} is not of the form 60-64, 1-99x2 or 60,62"
        ) from error


def ranges(numbers: Sequence[Number], width: int = 0) -> str:
    """Return ascending numbers of frames as '3-5,8', each with at least `width` digits."""
    from fileseq import framesToFrameRange

    if all(isinstance(number, int) for number in numbers):
        return str(framesToFrameRange(numbers, zfill=width))
    return ",".join(map(str, numbers))


def frames_named(numbers: Sequence[Number], width: int = 0) -> str:
    """Return 'frame 8' or 'frames 3-5,8' for ascending numbers, as `ranges` writes them."""
    return f"frame{'s' * (len(numbers) != 1)} {ranges(numbers, width)}"


def missing_named(numbers: Sequence[Number]) -> str:
    """Return `frames_named` of missing frames, which says so where there are more than are listed.

    numbers: as a sequence lists them
    """
    from inrv.container.sequence import MOST_MISSING

    more = " and further ones" if len(numbers) >= MOST_MISSING else ""
    return frames_named(numbers) + more


def frames_from(numbers: Sequence[Number]) -> str:
    """Return 'frame 8' or '5 frames from 8 to 13' for ascending numbers, 'no frame' for none."""
    if len(numbers) < 2:
        return f"frame {numbers[0]}" if numbers else "no frame"
    return f"{len(numbers):,} frames from {numbers[0]} to {numbers[-1]}"
