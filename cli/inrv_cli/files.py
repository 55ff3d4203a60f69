"""Input files, and where their outputs go."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv.support.inputs import BytesInput, Input
from inrv.support.remote import shown_url
from inrv.support.streams import check_writable, input_of, is_url
from inrv_cli.failure import INPUT, OUTPUT, Failure, writing
from inrv_cli.frames import (
    Found,
    FramePattern,
    Number,
    Source,
    expand,
    frame_number,
    last_number,
)
from inrv_cli.options import WHOLE_NUMBER, F

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume, Volume

STDIN = STDOUT = "-"


def source_of(text: str) -> Source:
    """Return what an argument stands for: a URL as it is, anything else as a path."""
    return text if is_url(text) else Path(text)


@dataclass(frozen=True)
class Job:
    """An input file and the output that it becomes.

    source: path or URL of the input; '-' is stdin
    output: path of the output; '-' is stdout
    frame: number of the frame that is decoded, of a sequence
    """

    source: Source
    output: str
    frame: float | int | None = None

    def __str__(self) -> str:
        name = name_of_input(self.source)
        if self.frame is not None:
            name = f"{name}, frame {self.frame}"
        return f"{name} -> {'stdout' if self.output == STDOUT else self.output}"


def find_inputs(patterns: Sequence[str], output: str | None, suffixes: tuple[str, ...]) -> Found:
    """Return what the inputs stand for, once it is clear that the output makes sense.

    Raises UsageError, and OptionError where `output` is a URL.

    patterns: the inputs, as frames.expand() takes them
    output: a file, a folder, a pattern or '-'; None puts each output beside its input
    suffixes: of the files that a folder or a glob stands for
    """
    check_stdin(patterns)
    if output is not None:
        check_writable(output)
        FramePattern.parse(Path(output).name)
    return expand(patterns, suffixes)


def numbered(found: Found, wanted: Collection[Number] | None = None) -> dict[Number, Source]:
    """Return the files of frames by the numbers in their names, ascending.

    Raises UsageError where two files have one number, or one has none.

    wanted: the frames to return; None: all
    """
    numbers = [
        (frame_number(number or last_number(Path(str(source)))), source)
        for source, number in found.files
    ]
    files: dict[Number, Source] = {}
    for number, source in sorted(numbers, key=lambda pair: pair[0]):
        if wanted is not None and number not in wanted:
            continue
        if number in files:
            names = f"{name_of_input(files[number])} and {name_of_input(source)}"
            raise click.UsageError(f"{names} would both be frame {number}")
        files[number] = source
    return files


def job_list(
    patterns: Sequence[str], found: Found, output: str | None, outputs_end: str
) -> tuple[list[Job], list[str]]:
    """Return the jobs that a command line asks for, and remarks for the user.

    Raises UsageError where an output would be written over its input or over another output.

    patterns: the inputs
    found: what they stand for
    output: as find_inputs() takes it
    outputs_end: the suffix of the outputs
    """
    inputs, suffix = found.files, outputs_end
    if output == STDOUT and len(inputs) > 1:
        raise click.UsageError(f"-o - takes one input, not {len(inputs)}")
    if output is not None and len(inputs) > 1 and _is_one_output(output):
        kind = "a file" if Path(output).is_file() else "a volume"
        raise click.UsageError(
            f"-o {output} is {kind} and there are {len(inputs)} inputs: "
            "name a folder or a pattern with ####"
        )
    given = {str(path) for path, _ in inputs}
    folders = [text for text in patterns if os.path.isdir(text) and str(Path(text)) not in given]
    many = len(inputs) > 1 or bool(folders)
    jobs = [Job(path, _output(path, frame, output, suffix, many)) for path, frame in inputs]
    targets: dict[str, Source] = {}
    for job in jobs:
        key = os.path.realpath(job.output)
        if job.output != STDOUT and key == os.path.realpath(job.source):
            why = ""
            if str(job.source).endswith(suffix):
                why = f": {click.get_current_context().info_name} makes {suffix} files"
            raise click.UsageError(f"{job.source} would be written over itself{why}")
        if key in targets:
            raise click.UsageError(
                f"{targets[key]} and {job.source} would both be written to {job.output}"
            )
        targets[key] = job.source
    return jobs, found.remarks


def _output(source: Source, frame: str | None, output: str | None, suffix: str, many: bool) -> str:
    """Return the output of one input. What is at a URL has it in the working directory.

    source: the input
    frame: its frame number, None where no pattern found it
    output: as the user gave it
    suffix: of the output
    many: whether the output is a folder because there may be several inputs
    """
    path = Path(_name_at(source)) if isinstance(source, str) else source
    if output is None:
        return _unnamed_output() if is_stdin(path) else str(_with_suffix(path, suffix))
    if output == STDOUT:
        return output
    pattern = FramePattern.parse(Path(output).name)
    if pattern is not None:
        return str(Path(output).parent / pattern.fill(frame or last_number(path)))
    if many or is_folder_of_outputs(output):
        if is_stdin(path):
            raise click.UsageError(
                f"-o {output} is a folder, and stdin has no name for a file in it: name the file"
            )
        return str(Path(output) / _with_suffix(path, suffix).name)
    return output


def is_folder_of_outputs(output: str) -> bool:
    """Return whether an output is a folder that takes files; one that is a volume is none."""
    return not _is_volume_name(output) and (output.endswith(("/", os.sep)) or os.path.isdir(output))


def _is_one_output(output: str) -> bool:
    """Return whether there is a file, or a folder that is a volume, in the place of an output."""
    from inrv import files

    return os.path.isfile(output) or (_is_volume_name(output) and files.is_volume(output))


def _is_volume_name(output: str) -> bool:
    from inrv import files

    return files.is_written_as_folder(output)


def _with_suffix(path: Path, suffix: str) -> Path:
    """Return a path with a suffix in place of its own, which may have two parts, as .nii.gz."""
    from inrv import files

    if not path.name or path.name == "..":
        path = Path(os.path.abspath(path))
    ends = [own for own in files.SUFFIXES if path.name.lower().endswith(own)]
    if not ends:
        return path.with_name(path.name + suffix) if path.is_dir() else path.with_suffix(suffix)
    return path.with_name(path.name[: -len(max(ends, key=len))] + suffix)


def _name_at(url: str) -> str:
    """Return the name of the file at a URL, of the first one where several are chained."""
    link = next(link for link in url.split("::") if is_url(link))
    return link.partition("?")[0].rstrip("/").rpartition("/")[2]


def _unnamed_output() -> str:
    """Return stdout. Raises UsageError where that is a terminal."""
    if _on_terminal():
        raise click.UsageError("the output would go to the terminal: name a file with -o")
    return STDOUT


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _parse_shard(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    if text is None:
        return None
    number = WHOLE_NUMBER.pattern
    match = re.fullmatch(f"({number})/({number})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise click.BadParameter(
            f"{text!r} is not I/N with I from 0 to N - 1, for example 0/4", param=option
        )
    return int(match[1]), int(match[2])


def shard_option(command: F) -> F:
    """Give a command --shard."""
    decorate = click.option(
        "--shard",
        callback=_parse_shard,
        metavar="I/N",
        help="Divide the inputs into N shares and do share I, counted from 0. "
        "Inputs whose outputs are there already are skipped.",
    )
    return decorate(command)


def share(
    jobs: Sequence[Job], shard: tuple[int, int] | None, force: bool
) -> tuple[list[Job], list[Job]]:
    """Return the jobs of a shard that are to be done, and those that are done.

    An output has its name only when it is complete.

    jobs: of all shards
    shard: number of the shard and count of the shards; None: all jobs are to be done
    force: whether jobs that are done are to be done again
    """
    if shard is None:
        return list(jobs), []
    number, count = shard
    own = jobs[number::count]
    done = [job for job in own if not force and _is_one_output(job.output)]
    return [job for job in own if job not in done], done


def print_remarks(remarks: Sequence[str], skipped: Sequence[Job] = ()) -> None:
    """Print each remark on stderr, and a line for each job of a shard that was done before."""
    for remark in [*remarks, *(f"{job.output} is there already" for job in skipped)]:
        click.echo(f"inrv: {remark}", err=True)


def is_stdin(source: Source) -> bool:
    """Return whether an argument stands for stdin."""
    return str(source) == STDIN


def check_stdin(given: Sequence[object]) -> None:
    """Raise UsageError where stdin would be read more than once."""
    if list(map(str, given)).count(STDIN) > 1:
        raise click.UsageError("'-' stands for stdin, which can be read only once")


def name_of_input(source: Source) -> str:
    """Return the name of an input for messages."""
    if is_stdin(source):
        return "stdin"
    return shown_url(source) if isinstance(source, str) else str(source)


def check_input(source: Source) -> None:
    """Raise Failure where `source` is not a file that can be opened, nor a folder that is a volume.

    A pipe is not tried, because opening it takes the writer's data away, and a URL when it is read.
    """
    if isinstance(source, str) or is_stdin(source) or source.is_fifo():
        return
    from inrv import files

    if source.is_dir() and files.is_volume(source):
        return
    try:
        with source.open("rb"):
            pass
    except OSError as error:
        raise Failure(INPUT, f"{source} cannot be read: {error.strerror or error}") from error


def read_input(source: Source) -> Input:
    """Return an input. Stdin and named pipes are read to their ends. Raises Failure."""
    try:
        if is_stdin(source):
            return BytesInput(name_of_input(source), read_stdin())
        found = input_of(source)
        if is_url(source):
            found.part(0, 1)  # so that one that cannot be read is told here
        return found
    except OSError as error:
        reason = error.strerror or error
        raise Failure(INPUT, f"{name_of_input(source)} cannot be read: {reason}") from error


def read_stdin() -> bytes:
    """Read stdin to its end. Raises OSError, and Failure where stdin is closed."""
    if sys.stdin is None:
        raise Failure(INPUT, "stdin cannot be read: it is closed")
    return sys.stdin.buffer.read()


def check_output(path: str, force: bool) -> None:
    """Raise Failure where `path` cannot become a file, before any work is done. Makes its folder.

    A path whose name is that of a folder that is a volume, as scan.zarr, becomes such a folder.

    Raises OptionError where it is a URL.

    force: whether a file that is there may be replaced
    """
    if path == STDOUT:
        return
    check_writable(path)
    if Path(path).is_dir() and not _is_one_output(path):
        what = ", and no volume that could be replaced" if _is_volume_name(path) else ""
        raise Failure(OUTPUT, f"{path} is a folder{what}")
    if Path(path).exists() and not _is_one_output(path):
        raise Failure(OUTPUT, f"{path} is not a regular file: -o - writes to stdout")
    if Path(path).exists() and not force:
        raise Failure(OUTPUT, f"{path} exists already: give another name, or --force to replace it")
    _check_beside(path, force)
    # A symbolic link stays as it is. The file that it leads to is written.
    folder = Path(os.path.realpath(path)).parent
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise Failure(OUTPUT, f"{path} cannot be written: its folder is read-only")


def _check_beside(path: str, force: bool) -> None:
    """Raise Failure where a file that is written beside an output is there already."""
    from inrv import files

    there = [own for own in files.written_paths(path) if own != path and os.path.lexists(own)]
    if there and not force:
        raise Failure(
            OUTPUT,
            f"{there[0]} exists already, and {path} is written with it: give another name, or "
            "--force to replace both",
        )


def write_grids(
    path: str,
    volume: SparseVolume,
    suffix: str | None = None,
    half: bool = False,
    compress: bool = True,
) -> tuple[int, list[str]]:
    """Write a volume to stdout, or to the file `path`, which appears when it is whole.

    Gives the bytes of the file, and a remark on each thing that it does not hold.

    suffix, half, compress: as of `inrv.files.write`
    """
    from inrv import files

    if path == STDOUT:
        stream = io.BytesIO()
        lost = files.write(stream, volume, suffix, half=half, compress=compress)
        write_output(STDOUT, stream.getvalue())
        return stream.tell(), [f"stdout: {line}" for line in lost]
    with writing(path):
        lost = files.write(path, volume, suffix, half=half, compress=compress)
    written = sum(input_of(own).size for own in files.written_paths(path, suffix))
    return written, [f"{path}: {line}" for line in lost]


def write_blocks(
    path: str, volume: Volume, half: bool, compress: bool, limits: Limits
) -> tuple[int, list[str]]:
    """Write the array of a file of blocks; see `write_grids`.

    volume: a block of it
    """
    from inrv.dask import decode_file

    source = volume.frames.source.file
    lost = decode_file(
        source, path, half=half, compress=compress, device=volume.device, limits=limits
    )
    return input_of(path).size, [f"{path}: {line}" for line in lost]


def write_output(path: str, *pieces: bytes) -> None:
    """Write pieces to stdout, or to the file `path`, which appears when it is whole."""
    from inrv.support.atomic import write_pieces

    if path == STDOUT:
        if sys.stdout is None:
            raise Failure(OUTPUT, "stdout cannot be written: it is closed")
        with writing("stdout"):
            write_pieces(sys.stdout.buffer, pieces)
        return
    with writing(path):
        write_pieces(path, pieces)
