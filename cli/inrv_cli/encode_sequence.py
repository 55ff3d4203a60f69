"""`inrv encode` of many frames into one file."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from inrv_cli.failure import OUTPUT, Failure, message_of, report
from inrv_cli.files import STDOUT, check_input, check_output, name_of_input, numbered, read_input
from inrv_cli.frames import (
    Found,
    FramePattern,
    Source,
    frames_in,
    missing_named,
)
from inrv_cli.progress import progress_bar
from inrv_cli.text import decibels, labelled, shown, size

if TYPE_CHECKING:
    from inrv import EncodeOptions, EncodeReport, Progress


@dataclasses.dataclass(frozen=True)
class Frame:
    """A file that becomes a frame.

    source: path or URL of the file
    number: of the frame
    """

    source: Source
    number: float | int


@dataclasses.dataclass
class Tally:
    """What has become of the frames so far.

    bytes_in: of the files that were read
    bytes_out: of the groups that were written
    frames: that were encoded
    psnrs: of each grid, of all its frames, by name
    """

    bytes_in: int = 0
    bytes_out: int = 0
    frames: int = 0
    psnrs: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def take(self, numbers: Sequence[float | int], report: EncodeReport) -> None:
        """Add the report of a group."""
        self.frames += len(numbers)
        self.bytes_in += report.bytes_in or 0
        self.bytes_out += report.bytes_out
        for grid in report.grids:
            if grid.active_voxels:
                self.psnrs.setdefault(grid.name, []).append(grid.psnr)


def names_one_file(output: str | None) -> TypeGuard[str]:
    """Return whether an output is the name of one .inrv file, and no folder, pattern or stdout."""
    if output is None or output == STDOUT or output.endswith(("/", os.sep)):
        return False
    path = Path(output)
    return path.suffix == ".inrv" and not path.is_dir() and FramePattern.parse(path.name) is None


def is_sequence(output: str | None, found: Found) -> TypeGuard[str]:
    """Return whether the files that were found are to become the frames of one file.

    They are where `output` names an .inrv file, and they are several, a pattern found them, or that
    file is a sequence already.
    """
    if not names_one_file(output):
        return False
    path = Path(output)
    if len(found.files) > 1 or any(number is not None for _, number in found.files):
        return True
    from inrv.container import is_sequence as begins_so
    from inrv.support.streams import input_of

    return path.is_file() and begins_so(input_of(path))


def encode_sequence(
    found: Found,
    output: str,
    options: EncodeOptions,
    *,
    fps: str | None,
    group: int | None,
    loop: str | None,
    wanted: str | None,
    shard: tuple[int, int] | None,
    force: bool,
    quiet: bool,
) -> tuple[str, dict[str, Any], int]:
    """Encode frames into one file; return what to print, what to say of it in JSON, the exit code.

    A file that holds some of the frames already, encoded with the same options, is gone on with. A
    frame that cannot be read is told and left out; its exit code is returned.

    found: the files, and the numbers that a pattern has found in their names
    output: path of the file
    wanted: the frames to take, as '60-64'; None: all
    shard: number of the share of the groups, and count of the shares
    """
    from inrv.encoding.sequence import SequenceWriter

    frames = _frames(found, wanted)
    length = options.frames_together if group is None else group
    groups = [frames[start : start + length] for start in range(0, len(frames), length)]
    if shard is not None:
        groups = groups[shard[0] :: shard[1]]
        output = str(Path(output).with_suffix(f".shard-{shard[0]}-of-{shard[1]}.inrv"))
    numbers = [frame.number for frame in frames]
    held = frozenset[float | int]()
    if not force and Path(output).is_file():
        wanted_here = {frame.number for own in groups for frame in own}
        held = _held(output, wanted_here, options)
        if not quiet and held:
            every = "all" if held == wanted_here else f"{len(held)}"
            click.echo(f"inrv: {output} has {every} of these frames already", err=True)
    else:
        check_output(output, force)
    tally, started = Tally(), time.perf_counter()
    failed, codes = list[dict[str, Any]](), list[int]()
    left = [[frame for frame in own if frame.number not in held] for own in groups]
    total = sum(map(len, left))
    with (
        _bar(Path(output).name, total, quiet) as (begin, progress),
        SequenceWriter(
            output,
            options,
            fps=fps,
            start=numbers[0],
            increment=_increment(numbers),
            loop=loop,
            pattern=_pattern(found),
            group=length,
            overwrite=force,
            append=not force,
            progress=progress,
            report=tally.take,
        ) as writer,
    ):
        for own in left:
            for frame in own:
                begin(frame.number)
                try:
                    check_input(frame.source)
                    writer.add(None, read_input(frame.source), number=frame.number)
                except Exception as error:
                    if writer.failed:
                        raise
                    name = name_of_input(frame.source)
                    codes.append(report(error, name))
                    failed.append(
                        {"input": name, "frame": frame.number, "error": message_of(error)}
                    )
            writer.flush()
        missing = writer.timeline.missing(sorted(writer.written))
    seconds = time.perf_counter() - started
    told = {
        "output": output,
        "frames": tally.frames,
        "already_there": len(held),
        "missing": missing,
        "bytes_in": tally.bytes_in,
        "bytes_out": tally.bytes_out,
        "psnr": {name: min(found) for name, found in tally.psnrs.items()},
        "seconds": seconds,
        "failed": failed,
    }
    return _summary(output, tally, missing, seconds), told, codes[0] if codes else 0


def _frames(found: Found, wanted: str | None) -> list[Frame]:
    """Return the frames in the order of their numbers. Raises UsageError where two have one."""
    files = numbered(found, None if wanted is None else set(frames_in(wanted)))
    if not files:
        raise click.UsageError(f"--frames {wanted}: there is none of these frames")
    return [Frame(source, number) for number, source in files.items()]


def _increment(numbers: Sequence[float | int]) -> int:
    """Return the largest whole number that all distances of frames are multiples of; 1 for none."""
    whole = [int(number) for number in numbers if float(number).is_integer()]
    if len(whole) < len(numbers):
        return 1
    return math.gcd(*(number - whole[0] for number in whole)) or 1


def _pattern(found: Found) -> str:
    """Return the pattern of the names that the frames had, where one pattern stands for them."""
    if len(found.patterns) == 1:
        return found.patterns[0]
    return ""


def _held(
    output: str, numbers: Collection[float | int], options: EncodeOptions
) -> frozenset[float | int]:
    """Return those of some frames that a file has already.

    Raises Failure where it cannot be gone on with.
    """
    from inrv import FormatError
    from inrv.decoding.frames import open_frames
    from inrv.encoding.job import chosen_options

    other = f"{output} exists already: give another name, or --force to replace it"
    try:
        frames = open_frames(output)
    except FormatError as error:
        raise Failure(OUTPUT, other) from error
    held = frozenset(frames)
    if not frames.is_sequence:
        raise Failure(OUTPUT, other)
    before = frames[min(held)].manifest.encoding.get("options") if held else None
    asked = chosen_options(options)
    if before is not None and before != asked:
        shown = [", ".join(f"{k}={v}" for k, v in own.items()) or "none" for own in (before, asked)]
        found = f"frames that were encoded with other options ({shown[0]}, now {shown[1]})"
        raise Failure(OUTPUT, f"{output} holds {found}: give another name, or --force")
    return held & set(numbers)


@contextmanager
def _bar(
    name: str, total: int, quiet: bool
) -> Iterator[tuple[Callable[[float | int], None], Callable[[Progress], None] | None]]:
    """Show how many frames are done, and the time left.

    Yields what is called with the number of each frame that is read, and what hears the progress of
    each group.
    """
    from inrv import Progress

    started, reading, done = time.perf_counter(), list[float | int](), 0

    with progress_bar(name, quiet) as show:

        def begin(number: float | int) -> None:
            reading.append(number)

        def progress(now: Progress) -> None:
            nonlocal done
            share = min(1.0, (done + now.share * len(reading)) / max(1, total))
            seconds = time.perf_counter() - started
            if now.share >= 1:
                done += len(reading)
                reading.clear()
            if show is not None:
                left = seconds * (1 - share) / share if share else math.inf
                show(Progress(share, seconds, left))

        yield begin, None if show is None else progress


def _summary(output: str, tally: Tally, missing: Sequence[float | int], seconds: float) -> str:
    """Return what a user wants to know of a sequence that was encoded."""
    rows = [("frames", f"{tally.frames} in {seconds:.1f} s")]
    if missing:
        rows.append(("missing", missing_named(missing)))
    sizes = size(tally.bytes_out)
    if tally.bytes_in and tally.bytes_out:
        smaller = f"{tally.bytes_in / tally.bytes_out:.1f} x smaller"
        sizes = f"{size(tally.bytes_in)} -> {sizes}, {smaller}"
    rows.append(("size", sizes))
    if tally.frames:
        rows.append(("a frame", size(round(tally.bytes_out / tally.frames))))
    for name, psnrs in tally.psnrs.items():
        rows.append((shown(name) or "(unnamed)", _psnr_text(min(psnrs), max(psnrs))))
    return f"{output}\n{labelled(rows)}"


def _psnr_text(least: float, largest: float) -> str:
    """Return 'PSNR 45.01 to 45.07 dB' for the frames of a grid."""
    if math.isinf(least):
        return "exact"
    low, high = decibels(least), decibels(largest)
    if math.isinf(largest):
        return f"PSNR {low} dB and more, some frames exact"
    return f"PSNR {low} dB" if low == high else f"PSNR {low} to {high} dB"
