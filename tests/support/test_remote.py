"""Files at URLs: what is requested, what is kept, and what goes wrong."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import fsspec
import numpy as np
import pytest

import inrv
from inrv.container import Chunk, Part, container_bytes, read_container
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.grids import SparseVolume, sparse_grid
from inrv.support import remote
from inrv.support.inputs import FileInput
from inrv.support.remote import AHEAD, BLOCK, GAP, RemoteInput, shown_url
from inrv.support.streams import input_of
from testing.examples import VECTORS, empty
from testing.server import RangeServer, serving

NOISE = np.random.default_rng(2).integers(0, 256, 1 << 20, dtype=np.uint8).tobytes()
SMALL = "fourier.inrv"


@cache
def with_bits(bits: bytes, remark: bytes = b"") -> bytes:
    """A file with one small chunk, one of many parts, and a manifest as long as `remark`."""
    manifest = replace(empty()[0], encoding={"remark": remark.hex()})
    return container_bytes(manifest, [Chunk("BITS", bits), Chunk("CODE", b"index")])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / SMALL).write_bytes((VECTORS / SMALL).read_bytes())
    (tmp_path / "bits.inrv").write_bytes(with_bits(NOISE))
    (tmp_path / "long.inrv").write_bytes(with_bits(NOISE[: 1 << 19], NOISE[: 3 * AHEAD]))
    with serving(tmp_path) as running:
        yield running


def test_a_small_file_takes_one_request(server: RangeServer) -> None:
    volume = inrv.load(f"{server.url}/{SMALL}", "cpu")
    assert np.array_equal(
        volume["density"].values(), inrv.load(VECTORS / SMALL, "cpu")["density"].values()
    )
    assert inrv.verify(volume.container.file, "cpu").chunks == 6
    assert (server.reads, server.heads) == ([(0, volume.container.size)], 0)


def test_opening_takes_two_reads_at_most(server: RangeServer) -> None:
    opened = read_container(f"{server.url}/bits.inrv")
    assert opened.chunk(1) == b"index"
    assert (server.reads, server.heads) == ([(0, AHEAD)], 1)
    server.forget()
    opened = read_container(f"{server.url}/long.inrv")
    assert opened.chunk(1) == b"index"
    (first, (start, count)) = server.reads
    assert first == (0, AHEAD) and start == AHEAD
    assert opened.entries[1].offset < start + count < opened.entries[0].offset + 2 * AHEAD


def test_only_the_blocks_of_parts_are_read_and_close_ones_together(server: RangeServer) -> None:
    opened = read_container(f"{server.url}/bits.inrv")
    base = opened.entries[0].offset
    places = [(300_000, 5_000), (305_000, 100), (305_100 + GAP // 2, 9_000), (900_000, 40_000)]
    parts = [Part(0, at, size, zlib.crc32(NOISE[at : at + size])) for at, size in places]
    server.forget()
    found = opened.parts(parts)
    assert found == [NOISE[at : at + size] for at, size in places]
    reads = sorted(server.reads)
    ends = [(300_000, places[2][0] + 9_000), (900_000, 940_000)]
    for (start, count), (first, end) in zip(reads, ends, strict=True):
        assert base + first - BLOCK < start <= base + first
        assert base + end <= start + count < base + end + BLOCK
    server.forget()
    assert opened.parts(parts) == found and server.reads == []


def test_what_is_kept_is_bounded(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "KEPT", 8 * BLOCK)
    file = RemoteInput(f"{server.url}/bits.inrv")
    data = file.part(0, file.size)
    assert data == with_bits(NOISE)
    for start in range(0, 40 * BLOCK, BLOCK):
        assert file.parts([(start, 100)]) == [data[start : start + 100]]
    server.forget()
    assert file.parts([(39 * BLOCK, BLOCK)]) and server.reads == []
    assert file.parts([(0, 9)]) == [data[:9]] and server.reads == [(0, BLOCK)]


def test_ranges_may_be_empty_or_reach_beyond_the_end(server: RangeServer) -> None:
    file = RemoteInput(f"{server.url}/bits.inrv")
    data = with_bits(NOISE)
    ranges = [(5, 0), (len(data) - 3, 9), (len(data), 4), (len(data) + 5000, 4)]
    assert file.parts(ranges) == [b"", data[-3:], b"", b""]
    assert file.parts([]) == [] and file.size == len(data)
    for offset in (0, 77):
        anew = RemoteInput(f"{server.url}/bits.inrv")
        assert anew.part(offset, 1 << 60) == data[offset:]


def test_many_threads_may_read(server: RangeServer) -> None:
    file = RemoteInput(f"{server.url}/bits.inrv")
    data = with_bits(NOISE)
    starts = range(0, len(data), 30_001)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: file.part(start, 20_000), starts))
    assert found == [data[start : start + 20_000] for start in starts]


def test_a_server_without_ranges_is_asked_once(tmp_path: Path) -> None:
    (tmp_path / "bits.inrv").write_bytes(with_bits(NOISE))
    with serving(tmp_path, ranges=False) as server:
        opened = read_container(f"{server.url}/bits.inrv")
        assert opened.chunk(0) == NOISE and opened.chunk(1) == b"index"
        assert len(server.reads) == 1


def test_a_volume_pickles_as_its_url(server: RangeServer) -> None:
    volume = inrv.load(f"{server.url}/{SMALL}", "cpu")
    pickled = pickle.dumps(volume)
    assert len(pickled) < 1000
    server.forget()
    again = pickle.loads(pickled)
    assert server.reads and np.array_equal(again["density"].values(), volume["density"].values())


def test_a_file_that_is_replaced_or_gone_is_told(server: RangeServer) -> None:
    opened = read_container(f"{server.url}/bits.inrv")
    checksum = zlib.crc32(NOISE[800_000:800_009])
    (server.root / "bits.inrv").write_bytes(with_bits(NOISE[::-1]))
    with pytest.raises(inrv.FormatError, match=r"bits\.inrv was replaced .*\[I2\]$"):
        opened.part(0, 800_000, 9, checksum)
    (server.root / "bits.inrv").unlink()
    with pytest.raises(inrv.FormatError, match=r"no longer be read: No such file .*\[I1\]$"):
        opened.part(0, 600_000, 9, checksum)


def test_what_cannot_be_read_names_the_url_without_its_secrets(server: RangeServer) -> None:
    address = server.url.removeprefix("http://")
    with pytest.raises(inrv.FormatError) as caught:
        inrv.load(f"http://me:word@{address}/none.inrv?signature=secret")
    expected = f"http://{address}/none.inrv cannot be read: No such file or directory [I1]"
    assert str(caught.value) == expected
    nobody = "http://127.0.0.1:9/fog.inrv?signature=secret"
    with pytest.raises(
        inrv.FormatError, match=r"^http://127\.0\.0\.1:9/fog\.inrv cannot"
    ) as caught:
        inrv.load(nobody)
    assert "secret" not in str(caught.value) and caught.value.id == "I1"
    assert shown_url("zip://a.inrv::s3://k:w@b/c.zip?x=1") == "zip://a.inrv::s3://b/c.zip"


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("nonsense://host/fog.inrv", inrv.OptionError, "Protocol not known: nonsense"),
        ("sftp://host/fog.inrv", inrv.MissingPackageError, "a package is missing .*paramiko"),
    ],
)
def test_what_no_package_reads_is_refused_in_words(
    url: str, kind: type[inrv.InrvError], words: str
) -> None:
    with pytest.raises(kind, match=f"^{url} cannot be read.*{words}"):
        inrv.load(url)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(inrv.MissingPackageError, match=r"fsspec.*pip install 'inrv\[remote\]'"):
        inrv.load("https://host/fog.inrv")


def test_other_kinds_of_urls(tmp_path: Path) -> None:
    data = (VECTORS / SMALL).read_bytes()
    fsspec.filesystem("memory").pipe("/volumes/fog.inrv", data)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fog.inrv", data)
    (tmp_path / "fog.inrv").write_bytes(data)
    for url in (
        "memory://volumes/fog.inrv",
        f"zip://fog.inrv::{tmp_path}/all.zip",
        (tmp_path / "fog.inrv").as_uri(),
    ):
        volume = inrv.load(url, "cpu")
        assert volume.container.size == len(data) and len(volume["density"].values()) == 773
    assert isinstance(input_of((tmp_path / "fog.inrv").as_uri()), FileInput)
    assert isinstance(input_of("C:/volumes/fog.inrv"), FileInput)
    with pytest.raises(inrv.FormatError, match=r"cannot be read: No such file .*\[I1\]$"):
        inrv.load("memory://volumes/none.inrv")
    with pytest.raises(inrv.FormatError, match=r"cannot be read: No such file .*\[I1\]$"):
        inrv.load(f"zip://fog.inrv::{tmp_path}/none.zip")


def test_a_vdb_file_is_read_from_a_url(server: RangeServer) -> None:
    grids = (sparse_grid(np.full((9, 9, 9), 0.5, np.float32), "density"),)
    write_volume(server.root / "fog.vdb", SparseVolume(grids))
    url = f"{server.url}/fog.vdb"
    assert [grid.name for grid in list_grids(url)] == ["density"]
    assert np.array_equal(read_volume(url).grids[0].values, grids[0].values)
    file = RemoteInput(url).open()
    data = (server.root / "fog.vdb").read_bytes()
    assert file.read() == data and file.seek(-4, io.SEEK_END) == len(data) - 4
    assert file.read() == data[-4:] and file.seek(-2, io.SEEK_CUR) == len(data) - 2
