"""The commands `inrv houdini`: the package for Houdini, and the converter that it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv_cli.failure import INPUT, MISSING, OUTPUT, USAGE, Failure, debug_option
from inrv_cli.files import STDOUT, check_input, name_of_input, read_input, source_of, write_output
from inrv_cli.frames import Source, frames_from

if TYPE_CHECKING:
    from inrv import Volume

PACKAGE = Path(__file__).with_name("houdini_package")
PIPE = "stdout."  # how names of files begin that stand for stdout, in Houdini's commands
CONVERTER = "gconvert"  # Houdini's own, between all files that its File SOP reads and writes
DECODED = ".vdb"  # what Houdini reads


@click.group(short_help="Open .inrv files in Houdini.")
def houdini() -> None:
    """Open .inrv files in Houdini's File SOP.

    `inrv houdini path` prints a folder that Houdini finds by HOUDINI_PACKAGE_DIR. Houdini then
    calls `inrv houdini convert` for every file that ends with .inrv.
    """


@houdini.command(short_help="Print the folder of the package for Houdini.")
@debug_option
def path() -> None:
    """Print the folder that HOUDINI_PACKAGE_DIR has to name."""
    click.echo(PACKAGE / "packages")


@houdini.command(short_help="Convert an .inrv file to Houdini's geometry.")
@click.argument("file", type=source_of, metavar="FILE")
@click.argument("target", metavar="OUT.bgeo")
@debug_option
def convert(file: Source, target: str) -> None:
    """Convert an .inrv file to what Houdini reads, as GEOio.json has Houdini call it.

    OUT is the name of a file: a .vdb file is decoded, and every other one, as .bgeo, is made of it
    by Houdini's own gconvert, which is looked for in $HFS/bin and on the PATH. `stdout.bgeo` stands
    for a .bgeo file on stdout.
    """
    if name_of_input(file).startswith("stdin.") or target.lower().endswith(".inrv"):
        raise Failure(
            USAGE, "Houdini cannot save .inrv files: save a .vdb file, and let inrv encode it"
        )
    check_input(file)
    import inrv

    volume = inrv.load(read_input(file))
    if len(volume.frames) > 1:
        raise Failure(
            USAGE,
            f"{volume.frames.name} has {frames_from(volume.frames.numbers)}, and Houdini does not "
            "tell which one it wants: decode it into .vdb files, or give each frame a file",
        )
    output = STDOUT if target.startswith(PIPE) else target
    with tempfile.TemporaryDirectory() as folder:
        found = _converted(volume, target, Path(folder))
        write_output(output, found.read_bytes())


def _converted(volume: Volume, target: str, folder: Path) -> Path:
    """Return a file that holds a volume, of the type that the target's name tells.

    folder: where it goes
    """
    decoded = folder / f"decoded{DECODED}"
    kind = "".join(Path(target).suffixes[-2:]) if target.endswith((".gz", ".sc")) else None
    suffix = kind or Path(target).suffix
    converter = None if suffix == DECODED else _converter(suffix)
    volume.to_vdb(decoded)
    if converter is None:
        return decoded
    found = folder / f"converted{suffix}"
    command = [converter, str(decoded), str(found)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise Failure(INPUT, f"{converter} cannot be started: {error.strerror or error}") from error
    if done.returncode or not found.is_file():
        told = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise Failure(OUTPUT, f"{CONVERTER} could not write {target}: {told}")
    return found


def _converter(suffix: str) -> str:
    """Return the path of Houdini's converter. Raises Failure where it is missing.

    suffix: of the file that is wanted
    """
    own = os.environ.get("HFS")
    places = [str(Path(own, "bin"))] if own else []
    found = shutil.which(CONVERTER, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if found is None:
        what = f"a {suffix} file" if suffix else "a file without a suffix"
        raise Failure(
            MISSING,
            f"{what} needs {CONVERTER}, which Houdini brings, and it is not on the PATH: set HFS "
            "to the folder of Houdini",
        )
    return found
