"""What is tried with a case, and what must hold of the answer.

A target either raises an error of the library's own or returns the word that counts the outcome.
All else is a finding.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from click.testing import CliRunner

import inrv
from fuzz.mutations import decode_case, head_case, raw_case
from fuzz.outcomes import ACCEPTED, outcome_of
from fuzz.payloads import change_bytes
from fuzz.seeds import inrv_seeds, nvdb_seeds, vdb_seeds
from fuzz.sequences import sequence_case, sequence_seeds
from inrv import files
from inrv.container import (
    Chunk,
    Container,
    Limits,
    Manifest,
    SequenceFile,
    container_bytes,
    is_sequence,
    read_container,
    read_sequence,
)
from inrv.container.sequence import Record
from inrv.files.vdb import read_volume, write_volume
from inrv.support.inputs import BytesInput
from inrv_cli.failure import INPUT
from inrv_cli.main import cli

# What the fuzzer's own cases may take: small, so that a reader that forgets a limit is seen.
LIMITS = Limits(
    manifest_bytes=1 << 20,
    chunks=1 << 12,
    chunk_bytes=1 << 24,
    grids=256,
    frames=1 << 10,
    exact_bytes=1 << 25,
    leaves=1 << 14,
    weights=1 << 20,
    values=1 << 22,
    work=1 << 36,
)
WIDEST = 24  # voxels along an edge of the box that is made dense
MOST_VOXELS = 1 << 18  # of a grid that is decoded whole
MOST_FRAMES = 4  # of a sequence that are decoded
SEQUENCES = 0.2  # share of the cases that are sequences
SHOWN_ID = re.compile(r"\[([A-Z]\d+)\]\s*$")  # of the condition, at the end of a message


@dataclass(frozen=True)
class Target:
    """What is tried.

    make: returns case `number` of `seed`
    check: tries one case
    error: the class of the errors that may come out
    seconds: that a case may take
    memory: bytes that it may take
    suffix: of files of the kind
    """

    make: Callable[[int, int], bytes]
    check: Callable[[bytes], str]
    error: type[inrv.InrvError]
    seconds: float
    memory: int
    suffix: str


def random_of(seed: int, number: int) -> Random:
    """The random numbers of case `number`."""
    return Random((seed << 40) ^ (number * 0x9E3779B97F4A7C15))


class InrvCases:
    """Cases from .inrv seeds: structured by `structured`, and one in eight raw."""

    def __init__(self, structured: Callable[..., bytes]) -> None:
        self._structured, self._seeds = structured, inrv_seeds()
        self._sequences = sequence_seeds()

    def __call__(self, seed: int, number: int) -> bytes:
        """Case `number` of `seed`."""
        random = random_of(seed, number)
        if random.random() < SEQUENCES:
            return sequence_case(random.choice(self._sequences), random, self._structured)
        chosen = random.choice(self._seeds)
        return (raw_case if random.random() < 0.125 else self._structured)(chosen, random)


class RawCases:
    """Damaged files of a kind whose parts the fuzzer does not know.

    seeds: names and bytes of good files
    """

    def __init__(self, seeds: list[tuple[str, bytes]]) -> None:
        self._seeds = [data for _, data in seeds]

    def __call__(self, seed: int, number: int) -> bytes:
        """Case `number` of `seed`."""
        random = random_of(seed, number)
        data = random.choice(self._seeds)
        if random.random() < 0.6:  # damage is met sooner near the beginning
            length = random.choice((100, 500, 2000, 20_000))
            return change_bytes(data[:length], random) + data[length:]
        return change_bytes(data, random)


def check_head(data: bytes) -> str:
    """Header, table and manifest; of a sequence the index, and these of every group.

    What is accepted must come out the same when it is written and read again.
    """
    if is_sequence(BytesInput("<bytes>", data)):
        sequence = read_sequence(data, LIMITS)
        _check_index(sequence)
        for group in range(len(sequence.groups)):
            _check_manifest(sequence.group(group).manifest)
    else:
        _check_manifest(read_container(data, LIMITS).manifest)
    return ACCEPTED


def _check_index(sequence: SequenceFile) -> None:
    record = Record("fuzz", sequence.timeline, None, sequence.groups)
    assert Record.from_json(record.to_json()) == record, (
        "the index changes when it is written and read again"
    )
    numbers = sorted(own.number for group in sequence.groups for own in group.frames)
    sequence.timeline.missing(numbers)


def _check_manifest(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert Manifest.from_json(text, LIMITS.grids).to_json() == text, (
        "the manifest changes when it is written and read again"
    )


def check_decode(data: bytes) -> str:
    """All there is: verify, every grid decoded, sampled, made dense, and the file written again."""
    first = inrv.load(data, device="cpu", limits=LIMITS)
    volumes = list(islice(first.frames.values(), MOST_FRAMES))
    complaint = None
    for volume in volumes:
        _check_manifest(volume.manifest)
        for grid in volume.grids:
            try:
                _check_grid(grid)
            except inrv.FormatError as error:
                complaint = error
    inrv.verify(data, device="cpu", limits=LIMITS)
    if complaint is not None:
        raise complaint
    for volume in volumes:
        _check_vdb(volume)
        _check_rewriting(volume.container)
    return ACCEPTED


def _check_grid(grid: inrv.VolumeGrid) -> None:
    """What a grid says of itself is so, and it can be sampled and made dense."""
    entry, topology = grid.entry, grid.topology
    counts = topology.leaf_voxel_count, topology.active_voxel_count
    decoded = entry.threshold is not None or entry.topology_of is not None
    same = counts == (entry.leaf_voxels, entry.active_voxels)
    assert same or decoded, "voxels are not as many as the manifest says"
    if entry.leaf_voxels <= MOST_VOXELS:
        _check_decoded(grid)
    points = np.array([[0.0, 0.0, 0.0], [0.5, 7.25, -3.0], [1e9, -1e9, 0.5]])
    points = np.concatenate([points, topology.leaf_origins[-2:] + 0.5])
    between = ("field",) if grid.volume.field is not None else ()
    for interpolation in ("trilinear", "nearest", *between):
        assert len(grid.sample(points, "index", interpolation)) == len(points)
    grid.sample(points, "world", "nearest")
    if grid.box is not None:
        ends = zip(grid.box.lower, grid.box.upper, strict=True)
        upper = [min(high, low + WIDEST) for low, high in ends]
        box = inrv.Box(grid.box.lower, (upper[0], upper[1], upper[2]))
        assert tuple(grid.dense(box).shape[:3]) == box.shape


def _check_decoded(grid: inrv.VolumeGrid) -> None:
    """Decoded values are finite and within their range where they are the field's."""
    decoded, entry = grid.to_grid(), grid.entry
    assert decoded.values.shape == (grid.topology.leaf_voxel_count, decoded.components)
    stored = (entry.frequent_values, entry.exact_values, entry.outliers)
    apart = any(chunk is not None for chunk in stored)
    assert apart or np.isfinite(decoded.values).all(), "a decoded value is not finite"
    for component, column in zip(entry.components, decoded.values.T, strict=True):
        low, high = np.float32(component.minimum), np.float32(component.maximum)
        free = apart or _is_lossless(grid.volume.container.manifest, component.output)
        assert free or ((column >= low) & (column <= high)).all(), "beyond its range"
    rows = grid.topology.voxel_rows(grid.coordinates()[:50])
    same = np.array_equal(rows, np.arange(len(rows)))
    assert same, "the rows of the first voxels are not 0, 1, 2, ..."


def _is_lossless(manifest: Manifest, output: int | None) -> bool:
    """Whether an output is a channel whose values are entries of a palette, of any range."""
    if output is None or manifest.field is None or manifest.field.kind != "lattice":
        return False
    return bool(manifest.field.config["channels"][output]["lossless"])


def _check_vdb(volume: inrv.Volume) -> None:
    """As a .vdb file, where it can be one, the volume is the same."""
    sparse = volume.to_sparse()
    assert len(sparse.passthrough) == len(volume.passthrough), "a passthrough grid is lost"
    with tempfile.NamedTemporaryFile(suffix=".vdb", dir=_memory_folder()) as file:
        try:
            write_volume(file.name, sparse)
            again = read_volume(file.name)
        except inrv.VdbError:
            return
    # The bytes of a passthrough grid mean nothing here; those of one may stand for a coded one.
    if not sparse.passthrough:
        assert len(again.grids) == len(sparse.grids), "a grid is lost"
        for mine, theirs in zip(sparse.grids, again.grids, strict=True):
            assert _said(mine).equal(theirs.topology), "the topology changes in a .vdb file"
            same = mine.values.tobytes() == theirs.values.tobytes()
            assert same or mine.saved_as_half, "values change in a .vdb file"


def _said(grid: inrv.Grid) -> inrv.Topology:
    """The topology without the tiles that say nothing.

    Such are inactive ones of the background, which no reader of a .vdb keeps.
    """
    bits, background = (values.view(np.int32) for values in (grid.tile_values, grid.background))
    topology = grid.topology
    said = topology.tile_active | (bits != background).any(axis=1)
    names = ("tile_origins", "tile_edges", "tile_active")
    return replace(topology, **{name: getattr(topology, name)[said] for name in names})


def check_info(data: bytes) -> str:
    """What `inrv info` makes of it, as text and as JSON.

    An error must be one that it foresees.
    """
    with tempfile.NamedTemporaryFile(suffix=".inrv", dir=_memory_folder()) as file:
        Path(file.name).write_bytes(data)
        results = [
            CliRunner().invoke(cli, ["info", file.name, *options]) for options in ([], ["--json"])
        ]
    codes = {result.exit_code for result in results}
    assert codes <= {0, INPUT} and len(codes) == 1, results[0].output + results[1].output
    if codes == {INPUT}:
        shown = SHOWN_ID.search(results[0].output)
        assert shown, results[0].output
        raise inrv.FormatError(shown[1], results[0].output)
    strange = {character for character in results[0].output if not character.isprintable()} - {"\n"}
    assert not strange, f"printed as they are: {sorted(map(ascii, strange))}"
    json.loads(results[1].stdout)
    return ACCEPTED


def _memory_folder() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _check_rewriting(container: Container) -> None:
    """A file of the same chunks says the same, where its writer knows all of them."""
    if all(entry.critical or entry.type == "SAMP" for entry in container.entries):
        chunks = [
            Chunk(entry.type, container.chunk(number))
            for number, entry in enumerate(container.entries)
        ]
        again = read_container(container_bytes(container.manifest, chunks), LIMITS)
        assert again.manifest.to_json() == container.manifest.to_json()


def check_vdb(data: bytes) -> str:
    """A damaged .vdb file, read from disk."""
    with tempfile.NamedTemporaryFile(suffix=".vdb", dir=_memory_folder()) as file:
        Path(file.name).write_bytes(data)
        read_volume(file.name)
    return ACCEPTED


def check_nvdb(data: bytes) -> str:
    """A damaged .nvdb file. What is read must be the same when it is written and read again."""
    volume = files.read(BytesInput("case.nvdb", data))
    if not volume.grids:
        return ACCEPTED
    stream = io.BytesIO()
    files.write(stream, volume, ".nvdb")
    again = files.read(stream.getvalue())
    for mine, theirs in zip(volume.grids, again.grids, strict=True):
        assert mine.topology.equal(theirs.topology), "the topology changes in a .nvdb file"
        same = mine.values.tobytes() == theirs.values.tobytes()
        same &= mine.inactive.values.tobytes() == theirs.inactive.values.tobytes()
        assert same, "values change in a .nvdb file"
    return ACCEPTED


TARGETS: dict[str, Callable[[], Target]] = {
    "head": lambda: Target(
        InrvCases(head_case), check_head, inrv.FormatError, 2.0, LIMITS.memory, ".inrv"
    ),
    "decode": lambda: Target(
        InrvCases(decode_case), check_decode, inrv.FormatError, 20.0, LIMITS.memory, ".inrv"
    ),
    "info": lambda: Target(
        InrvCases(head_case), check_info, inrv.FormatError, 20.0, LIMITS.memory, ".inrv"
    ),
    "vdb": lambda: Target(RawCases(vdb_seeds()), check_vdb, inrv.VdbError, 20.0, 1 << 28, ".vdb"),
    "nvdb": lambda: Target(
        RawCases(nvdb_seeds()), check_nvdb, inrv.VdbError, 20.0, 1 << 28, ".nvdb"
    ),
}


def attempt(target: Target, data: bytes) -> str:
    """Return 'accepted', the id of the error's condition, or the name of the error's class.

    Raises whatever must not come out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return target.check(data)
        except target.error as error:
            return outcome_of(error)
