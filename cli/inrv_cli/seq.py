"""The commands `inrv seq`: sequences that are listed, joined, cut and appended to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv_cli.failure import debug_option, writing
from inrv_cli.files import (
    check_input,
    check_output,
    name_of_input,
    print_remarks,
    read_input,
    source_of,
)
from inrv_cli.frames import (
    Source,
    expand,
    frame_number,
    frames_from,
    frames_in,
    last_number,
    missing_named,
)
from inrv_cli.text import counted, print_json, size, table

if TYPE_CHECKING:
    from inrv import Frames
    from inrv.container import Timeline
    from inrv.encoding.joining import Copy


@click.group(short_help="List, join, cut and append to sequences.")
def seq() -> None:
    """Work on sequences: .inrv files that hold many frames.

    `inrv encode` makes them of .vdb files and `inrv decode` brings the frames back. Nothing here
    decodes or encodes a value: groups of frames are copied.
    """


@seq.command("list", short_help="List the frames of a sequence.")
@click.argument("file", type=source_of, metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def list_frames(file: Source, as_json: bool) -> None:
    """List the frames of a sequence: number, time, and the group with its bytes."""
    frames = _open(file)
    sizes = _sizes(frames)
    if as_json:
        print_json(
            {
                "frames": [
                    {"number": number, "time": time, "group": _group_of(frames, number)}
                    for number, time in zip(frames.numbers, frames.times, strict=True)
                ],
                "groups": [
                    {"frames": list(numbers), "bytes": count}
                    for numbers, count in zip(frames.groups, sizes, strict=True)
                ],
                "missing": frames.missing,
            }
        )
        return
    rows = []
    for number, time in zip(frames.numbers, frames.times, strict=True):
        group = _group_of(frames, number)
        first = number == frames.groups[group][0]
        shown = "-" if time is None else f"{time:.6g} {frames.timeline.unit}"
        rows.append([str(number), shown, str(group), size(sizes[group]) if first else ""])
    click.echo(table(["frame", "time", "group", "bytes of the group"], rows))
    print_remarks(_missing(frames))


@seq.command(short_help="Make one sequence of several.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option("-o", "--output", required=True, metavar="OUT.inrv", help="The sequence to write.")
@click.option("--force", is_flag=True, help="Replace an output that is there already.")
@debug_option
def join(inputs: tuple[str, ...], output: str, force: bool) -> None:
    """Make one sequence of several, and of .inrv files with one volume.

    INPUTS are files, globs and patterns, for example the shares that `inrv encode --shard` has
    written. Frames keep their numbers and times; a volume has the number in its name. The frame
    rate and metadata are those of the first sequence.
    """
    from inrv.container import Timeline
    from inrv.encoding import joining

    check_output(output, force)
    opened = _open_all(inputs)
    timeline = next((own.timeline for own, _ in opened if own.is_sequence), Timeline())
    starts = [own.timeline.start for own, _ in opened if own.is_sequence]
    known = [start for start in starts if start is not None]
    copies = [copy for own, number in opened for copy in _copies(own, number, timeline)]
    joining.check_apart(copies)
    with writing(output):
        timeline = replace(timeline, start=min(known, default=None))
        joining.join(Path(output), timeline, copies, overwrite=force)
    _tell(output)


@seq.command(short_help="Copy some frames of a sequence into another one.")
@click.argument("file", type=source_of, metavar="FILE")
@click.option(
    "--frames", required=True, metavar="RANGE", help="The frames, for example 60-64 or 1-99x2."
)
@click.option("-o", "--output", required=True, metavar="OUT.inrv", help="The sequence to write.")
@click.option("--force", is_flag=True, help="Replace an output that is there already.")
@debug_option
def cut(file: Source, frames: str, output: str, force: bool) -> None:
    """Copy some frames of a sequence into another one.

    Groups are copied whole. Where the cut goes through a group, its other frames are no longer
    frames of the sequence, but their bytes stay.
    """
    from inrv import OptionError
    from inrv.encoding import joining

    check_output(output, force)
    opened = _open(file)
    wanted = frozenset(frames_in(frames))
    copies = joining.copies_of(opened, wanted)
    if not copies:
        raise OptionError(f"{opened.name} has none of the frames {frames}")
    first = min(moment.number for own in copies for moment in own.frames)
    with writing(output):
        timeline = replace(opened.timeline, start=first)
        joining.join(Path(output), timeline, copies, overwrite=force)
    _tell(output)


@seq.command(short_help="Append frames to a sequence.")
@click.argument("file", metavar="FILE")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@debug_option
def append(file: str, inputs: tuple[str, ...]) -> None:
    """Append the frames of other .inrv files to a sequence, which is changed in place.

    INPUTS are sequences, or .inrv files with one volume, as `inrv seq join` takes them. `inrv
    encode` appends .vdb files: give it the name of the sequence with -o.
    """
    from inrv.container import SequenceAppender
    from inrv.encoding import joining

    check_input(Path(file))
    opened = _open_all(inputs)
    own = _open(Path(file))
    copies = [copy for other, number in opened for copy in _copies(other, number, own.timeline)]
    joining.check_apart([*joining.copies_of(own), *copies])
    with writing(file):
        appender = SequenceAppender.open(Path(file))
        try:
            for copy in copies:
                appender.add(copy.contents, copy.frames)
        finally:
            appender.close()
    _tell(file)


def _open(file: Source) -> Frames:
    """Open a sequence. Raises UsageError for another file."""
    check_input(file)
    from inrv.decoding.frames import open_frames

    frames = open_frames(read_input(file))
    if not frames.is_sequence:
        raise click.UsageError(f"{name_of_input(file)} holds one volume, and no sequence")
    return frames


def _open_all(inputs: Sequence[str]) -> list[tuple[Frames, str | None]]:
    """Open every input; each with its frame number as its name writes it, if a pattern found it."""
    from inrv.decoding.frames import open_frames

    found = expand(inputs, (".inrv",))
    print_remarks(found.remarks)
    opened = []
    for source, number in found.files:
        check_input(source)
        opened.append((open_frames(read_input(source)), number or _number_in(source)))
    return opened


def _number_in(source: Source) -> str | None:
    """Return the last number in the name of a file; None where it has none."""
    try:
        return last_number(Path(str(source)))
    except click.UsageError:
        return None


def _copies(frames: Frames, number: str | None, timeline: Timeline) -> list[Copy]:
    """Return the groups of a sequence, or the volume of a file as a frame. Raises UsageError."""
    from inrv.encoding import joining

    if frames.is_sequence:
        return joining.copies_of(frames)
    if number is None:
        raise click.UsageError(f"{frames.name} has no frame number in its name")
    found = frame_number(number)
    return [joining.copy_of_volume(frames, found, timeline.time_of(found))]


def _sizes(frames: Frames) -> list[int]:
    """Return the bytes of each group."""
    from inrv.container import SequenceFile

    assert isinstance(frames.source, SequenceFile)
    return [group.size for group in frames.source.groups]


def _group_of(frames: Frames, number: float | int) -> int:
    return next(place for place, numbers in enumerate(frames.groups) if number in numbers)


def _missing(frames: Frames) -> list[str]:
    """Return a line that names the frames that are missing."""
    missing = frames.missing
    return [f"{frames.name} has no {missing_named(missing)}"] if missing else []


def _tell(output: str) -> None:
    """Print what a sequence holds now."""
    frames = _open(Path(output))
    click.echo(
        f"{output}: {frames_from(frames.numbers)} in {counted(len(frames.groups), 'group')}, "
        f"{size(Path(output).stat().st_size)}"
    )
    print_remarks(_missing(frames))
