"""`inrv compare` of many frames: of sequences, and of files with the numbers of frames."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inrv_cli.compare_report import HEADER, as_dict, remarks_on, row_of, shortfalls
from inrv_cli.failure import FAILED, Failure, report
from inrv_cli.frames import Number, frames_named
from inrv_cli.shots import Shots
from inrv_cli.text import counted, decibels, labelled, shown, size, table

if TYPE_CHECKING:
    from inrv.metrics import VolumeComparison


@dataclass
class FramesComparison:
    """The frames that two have in common.

    original, decoded: the two
    frames: what came of each frame, by its number
    codes: exit codes of the frames that could not be compared
    """

    original: Shots
    decoded: Shots
    frames: dict[Number, VolumeComparison] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)

    @property
    def missing(self) -> list[Number]:
        """The frames that only the original has."""
        return _without(self.original.numbers, self.decoded.numbers)

    @property
    def unexpected(self) -> list[Number]:
        """The frames that only the decoded one has."""
        return _without(self.decoded.numbers, self.original.numbers)


@dataclass(frozen=True)
class Course:
    """One grid over the frames that have it.

    name: of the grid, with a number behind where another one has that name
    psnrs: dB by the number of the frame; infinite where the grid is exact
    """

    name: str
    psnrs: dict[Number, float]

    @property
    def worst(self) -> Number | None:
        """The frame of the least PSNR; None where the grid is exact in all."""
        number = min(self.psnrs, key=lambda number: self.psnrs[number])
        return None if math.isinf(self.psnrs[number]) else number

    @property
    def mean(self) -> float | None:
        """The mean PSNR of the frames in which the grid is not exact; None where there is none."""
        known = [psnr for psnr in self.psnrs.values() if not math.isinf(psnr)]
        return sum(known) / len(known) if known else None


def compare_frames(original: Shots, decoded: Shots, grids: Sequence[str]) -> FramesComparison:
    """Compare the frames that both have, one after the other.

    A frame that cannot be compared is told on stderr, and the others are compared nevertheless.
    Raises Failure where they have no frame in common.

    grids: names and positions of the grids of the original; none compares all
    """
    found = FramesComparison(original, decoded)
    common = [number for number in original.numbers if number in set(decoded.numbers)]
    if not common:
        held = " and ".join(
            f"{own.name} has {frames_named(own.numbers) if own.numbers else 'none'}"
            for own in (original, decoded)
        )
        raise Failure(FAILED, f"there is no frame that both have: {held}")
    for number in common:
        try:
            found.frames[number] = _compare(original, decoded, number, grids)
        except Exception as error:
            found.codes.append(report(error, f"frame {number}"))
    return found


def _compare(
    original: Shots, decoded: Shots, number: Number, grids: Sequence[str]
) -> VolumeComparison:
    """Compare one frame, which is in memory no longer than that."""
    from inrv.metrics import compare_volumes

    return compare_volumes(original.read(number, grids), decoded.read(number, ()))


def shortfalls_of_frames(found: FramesComparison, min_psnr: float | None) -> list[str]:
    """Return why the comparison failed: what `shortfalls` says of frames, and missing ones."""
    failures = [
        f"frame {number}: {failure}"
        for number, result in found.frames.items()
        for failure in shortfalls(result, min_psnr)
    ]
    if min_psnr is not None and found.missing:
        failures.append(f"DECODED has no {frames_named(found.missing)}")
    return failures


def courses_of(found: FramesComparison) -> list[Course]:
    """Return every grid that could be compared in some frame."""
    courses: dict[tuple[str, int], Course] = {}
    for number, result in found.frames.items():
        seen = Counter[str]()
        for grid in result.grids:
            place = seen[grid.name]
            seen[grid.name] += 1
            if grid.metrics is not None:
                name = shown(grid.name) or "(unnamed)"
                name += f"[{place}]" if place else ""
                course = courses.setdefault((grid.name, place), Course(name, {}))
                course.psnrs[number] = grid.metrics.psnr
    return list(courses.values())


def _worst(courses: Sequence[Course]) -> tuple[Course, Number] | None:
    """Return the grid and the frame of the least PSNR; None where all are exact."""
    pairs = [(course, course.worst) for course in courses]
    known = [(course, number) for course, number in pairs if number is not None]
    return min(known, key=lambda pair: pair[0].psnrs[pair[1]], default=None)


def frames_as_dict(found: FramesComparison) -> dict[str, Any]:
    """Return the comparison for JSON: what `as_dict` tells of each frame, and a summary."""
    courses = courses_of(found)
    worst = _worst(courses)
    return {
        "original_bytes": found.original.bytes,
        "decoded_bytes": found.decoded.bytes,
        "frames": [
            {"frame": number, **as_dict(result, {})} for number, result in found.frames.items()
        ],
        "missing_frames": found.missing,
        "unexpected_frames": found.unexpected,
        "grids": [
            {
                "name": course.name,
                "mean_psnr": course.mean,
                "worst_frame": course.worst,
                "worst_psnr": None if course.worst is None else course.psnrs[course.worst],
            }
            for course in courses
        ],
        "worst": None
        if worst is None
        else {"frame": worst[1], "grid": worst[0].name, "psnr": worst[0].psnrs[worst[1]]},
    }


def frames_as_text(found: FramesComparison) -> str:
    """Return a table with a line for each grid of each frame, and a summary."""
    rows = [
        (str(number), *row_of(grid, position))
        for number, result in found.frames.items()
        for position, grid in enumerate(result.grids)
    ]
    return f"{table(('frame', *HEADER), rows, notes=True)}\n\n{labelled(_summary(found), indent=0)}"


def _summary(found: FramesComparison) -> list[tuple[str, str]]:
    """Return labels and texts on the files, on each grid, on what differs and on the worst."""
    facts = [
        (label, f"{own.name}, {counted(len(own.numbers), 'frame')}, {size(own.bytes)}")
        for label, own in (("original", found.original), ("decoded", found.decoded))
    ]
    if found.missing:
        facts.append(("missing", frames_named(found.missing)))
    if found.unexpected:
        facts.append(("unexpected", frames_named(found.unexpected)))
    differing = defaultdict[tuple[str, str], list[Number]](list)
    for number, result in found.frames.items():
        for remark in remarks_on(result):
            differing[remark].append(number)
    facts += [
        (label, f"{text}, in {frames_named(numbers)}")
        for (label, text), numbers in differing.items()
    ]
    courses = courses_of(found)
    facts += [(course.name, _course_text(course)) for course in courses]
    worst = _worst(courses)
    if worst is not None:
        course, number = worst
        psnr = decibels(course.psnrs[number])
        facts.append(("worst", f"frame {number}, {course.name}: PSNR {psnr} dB"))
    return facts


def _course_text(course: Course) -> str:
    """Return the line on a grid over the frames."""
    compared = counted(len(course.psnrs), "frame")
    if course.worst is None:
        return f"exact in {compared}"
    least = decibels(course.psnrs[course.worst])
    text = f"PSNR {decibels(course.mean)} dB, mean of {compared}"
    exact = sum(map(math.isinf, course.psnrs.values()))
    if exact:
        text = f"PSNR {decibels(course.mean)} dB, mean of {len(course.psnrs) - exact} of {compared}"
        text += ", the others are exact"
    return f"{text}; {least} dB in frame {course.worst}"


def _without(numbers: Sequence[Number], others: Sequence[Number]) -> list[Number]:
    """Return the numbers that are not among others."""
    left_out = set(others)
    return [number for number in numbers if number not in left_out]
