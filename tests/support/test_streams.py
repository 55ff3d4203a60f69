"""Paths, bytes, file objects and pipes as inputs and outputs of the library."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.grids import SparseVolume, sparse_grid
from inrv.support.inputs import BytesInput
from inrv.support.streams import input_of, write_through
from testing.vdb.referee import as_stream

OPTIONS = inrv.EncodeOptions(effort="instant", exact_below=0, device="cpu")


@pytest.fixture(scope="module")
def volume() -> SparseVolume:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 12, dtype=np.float32)] * 3, indexing="ij")
    fog = np.exp(-3 * (x**2 + y**2 + z**2))
    return SparseVolume(
        (sparse_grid(fog * (fog > 0.2), "density"), sparse_grid(fog * (fog > 0.3), "heat"))
    )


@pytest.fixture(scope="module")
def vdb(volume: SparseVolume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "fog.vdb"
    write_volume(path, volume)
    return path


@pytest.fixture(scope="module")
def coded(vdb: Path) -> bytes:
    return inrv.encode_bytes(vdb, OPTIONS)[0]


class OnlyReads:
    """The least of a file object: a socket's or a response's."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def piped(data: bytes) -> Any:
    """The reading end of a pipe into which a thread writes."""
    reader, writer = os.pipe()

    def fill() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    threading.Thread(target=fill).start()
    return os.fdopen(reader, "rb")


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "unbuffered file": lambda path: path.open("rb", buffering=0),
    "pipe": lambda path: piped(path.read_bytes()),
    "response": lambda path: OnlyReads(path.read_bytes()),
    "gzip": lambda path: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(path.read_bytes()))),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_give_a_file_encodes_to_the_same_bytes(
    way: str, vdb: Path, coded: bytes
) -> None:
    data, report = inrv.encode_bytes(WAYS[way](vdb), OPTIONS)
    assert data == coded and report.bytes_in == vdb.stat().st_size


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_give_a_file_loads_and_verifies(
    way: str, coded: bytes, tmp_path: Path
) -> None:
    (tmp_path / "fog.inrv").write_bytes(coded)
    found = inrv.load(WAYS[way](tmp_path / "fog.inrv"), "cpu")
    assert [grid.name for grid in found.grids] == ["density", "heat"] and found[
        "heat"
    ].values().size > 100
    assert inrv.verify(WAYS[way](tmp_path / "fog.inrv"), "cpu").chunks > 0


def test_a_file_object_is_read_from_where_it_stands(coded: bytes) -> None:
    file = io.BytesIO(b"before" + coded)
    file.seek(6)
    assert len(inrv.load(file, "cpu").grids) == 2
    with pytest.raises(inrv.FormatError, match=r"<BytesIO>: is empty: not an \.inrv file"):
        inrv.load(file)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")
def test_a_named_pipe_is_read_once(vdb: Path, coded: bytes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.vdb"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(vdb.read_bytes())).start()
    assert inrv.encode_bytes(pipe, OPTIONS)[0] == coded


def test_grids_are_listed_and_read_from_memory(vdb: Path, volume: SparseVolume) -> None:
    assert [grid.name for grid in list_grids(vdb.read_bytes())] == ["density", "heat"]
    (heat,) = read_volume(io.BytesIO(vdb.read_bytes()), ["heat"]).grids
    assert np.array_equal(heat.values, volume.grids[1].values)


def test_a_file_written_to_a_stream_is_read_from_memory(vdb: Path, volume: SparseVolume) -> None:
    for grid, expected in zip(
        read_volume(io.BytesIO(as_stream(vdb))).grids, volume.grids, strict=True
    ):
        assert grid.name == expected.name and np.array_equal(grid.values, expected.values)


def test_errors_name_the_file_object(vdb: Path, tmp_path: Path) -> None:
    cut = vdb.read_bytes()[:-40]
    (tmp_path / "cut.vdb").write_bytes(cut)
    with (
        (tmp_path / "cut.vdb").open("rb") as file,
        pytest.raises(inrv.VdbError, match=r"cut\.vdb: grid 1 'heat'.*truncated"),
    ):
        inrv.encode_bytes(file, OPTIONS)
    with pytest.raises(inrv.VdbError, match="<bytes>: grid 1 'heat'"):
        inrv.encode_bytes(cut, OPTIONS)


def test_outputs_may_be_file_objects(vdb: Path, coded: bytes, tmp_path: Path) -> None:
    memory = io.BytesIO()
    inrv.encode(vdb, memory, OPTIONS)
    assert memory.getvalue() == coded
    with (tmp_path / "fog.inrv").open("wb", buffering=0) as file:
        inrv.encode(vdb, file, OPTIONS, checkpoint=inrv.Checkpoint(tmp_path / "checkpoint"))
    assert (tmp_path / "fog.inrv").read_bytes() == coded
    found = inrv.load(coded, "cpu")
    found.to_vdb(tmp_path / "fog.vdb")
    decoded = io.BytesIO()
    found.to_vdb(decoded)
    assert decoded.getvalue() == (tmp_path / "fog.vdb").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of pipes are POSIX")
def test_a_pipe_takes_a_vdb_although_it_cannot_seek(coded: bytes) -> None:
    reader, writer = os.pipe()
    taken = bytearray()

    def drain() -> None:
        with os.fdopen(reader, "rb") as file:
            taken.extend(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with os.fdopen(writer, "wb") as file:
        inrv.load(coded, "cpu").to_vdb(file)
    thread.join()
    assert [grid.name for grid in read_volume(bytes(taken)).grids] == ["density", "heat"]


@pytest.mark.parametrize("taken", [7, None])
def test_all_is_written_whatever_an_object_says_it_took(taken: int | None) -> None:
    class Sip(io.BytesIO):
        def write(self, data: Any) -> Any:
            super().write(bytes(data[:taken]))
            return taken and min(taken, len(data))

    file = Sip()
    write_through(file, bytes(range(256)))
    assert file.getvalue() == bytes(range(256))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (io.StringIO("text"), "source is a text file.*'rb'"),
        (7, "source is of type int"),
        (None, "source is of type NoneType"),
    ],
)
def test_what_is_no_input_is_refused(source: Any, words: str) -> None:
    for take in (inrv.load, inrv.verify, inrv.encode_bytes, read_volume, input_of):
        with pytest.raises(inrv.OptionError, match=words):
            take(source)


def test_what_is_no_output_is_refused_before_work_is_done(
    vdb: Path, coded: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(sys.modules["inrv.encoding.api"], "encoded", fail)
    closed = io.BytesIO()
    closed.close()
    for output, words in (
        (io.StringIO(), "a text file.*'wb'"),
        (None, "of type NoneType"),
        (closed, "closed"),
        ("https://us:secret@host/x.inrv", "https://host/x.inrv is a URL"),
        ("s3://bucket/x.inrv", "s3://bucket/x.inrv is a URL"),
        ("a\0b", r"'a\\x00b' is no path"),
        ("a\ud900b", r"'a\\ud900b' is no path"),
    ):
        with pytest.raises(inrv.OptionError, match=f"^output .*{words}"):
            inrv.encode(vdb, output, OPTIONS)  # type: ignore[arg-type]
        with pytest.raises(inrv.OptionError, match=f"^output .*{words}"):
            inrv.load(coded).to_vdb(output)  # type: ignore[arg-type]
    with vdb.open("rb") as reading, pytest.raises(inrv.OptionError, match="not open for writing"):
        inrv.encode(vdb, reading, OPTIONS)


def test_what_a_file_object_raises_is_passed_on(vdb: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        inrv.encode(vdb, Full(), OPTIONS)


def test_an_input_gives_its_parts_again_and_again(vdb: Path) -> None:
    data = vdb.read_bytes()
    for file in (input_of(vdb), BytesInput("memory", data)):
        assert file.size == len(data) and file.view() == data
        assert file.parts([(8, 5), (0, 8), (3, 0)]) == [data[8:13], data[:8], b""]
        assert (
            file.part(8, 5) == data[8:13] == file.part(8, 5)
            and file.part(len(data) - 1, 9) == data[-1:]
        )
