"""Arrays of dask into a file of blocks, and files as arrays of dask."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import inrv
import inrv.dask
from inrv import EncodeOptions, OptionError, OutputError, SelectionError
from inrv.encoding.sequence import timeline_of
from inrv.support.atomic import RANDOM

INSTANT = EncodeOptions(effort="instant", exact_below=0)
MEMORY = 200_000_000  # bytes that a worker may use
SECONDS = 300  # that a test may wait for the workers; they answer in a few


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def waves(edges: tuple[int, int, int] = (60, 50, 40)) -> NDArray[np.float64]:
    """A smooth volume with empty air, which ranges over much less in its second half."""
    x, y, z = np.meshgrid(*[np.arange(edge) / 9 for edge in edges], indexing="ij")
    found = np.sin(x) * np.cos(y) * np.sin(z + 1)
    found[edges[0] // 2 :] *= 0.01
    return np.where(np.abs(found) > 0.001, found, 0)


def errors(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    (found,) = inrv.dask.open(path).values()
    decoded = found.compute()
    assert decoded.shape == array.shape and decoded.dtype == np.float32
    return np.abs(decoded - array)[array != 0]


def test_an_array_comes_back_at_the_quality_of_the_whole(tmp_path: Path) -> None:
    array, path = waves(), tmp_path / "waves.inrv"
    told = inrv.dask.encode(da.from_array(array, chunks=(33, 32, 17)), path, INSTANT)
    missed, span = errors(path, array), array.max() - array.min()
    assert 20 * np.log10(span / np.sqrt((missed**2).mean())) >= 45
    assert told.blocks == 2 * 2 * 3 and told.active_voxels == np.count_nonzero(array)
    assert told.bytes_in == array.nbytes and told.bytes_out == path.stat().st_size
    assert told.max_error == pytest.approx(missed.max(), rel=1e-3)
    # The quiet half is as coarse as the loud one: not as fine as its own range would ask.
    quiet = inrv.load(path, frame=11)["density"].to_grid().values
    assert len(np.unique(quiet)) < 100


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"max_error": "1%"}, 0.01 * (waves().max() - waves().min())),
        ({"max_error": 0.003}, 0.003),
        ({"max_error": 1e-7, "exact_below": 4096}, 1e-7),
    ],
)
def test_a_bound_is_that_of_the_whole(
    options: dict[str, Any], bound: float, tmp_path: Path
) -> None:
    array, path = waves(), tmp_path / "waves.inrv"
    asked = EncodeOptions(effort="instant", **options)
    inrv.dask.encode(da.from_array(array, chunks=(30, 50, 20)), path, asked)
    missed = errors(path, array)
    assert missed.max() <= bound and missed.max() > bound / 10


def test_vectors_masks_and_properties_come_back(tmp_path: Path) -> None:
    array = np.stack([waves((40, 24, 24))] * 3, axis=3).astype(np.float32)
    masked = np.ma.array(array, mask=np.repeat(array[..., :1] < 0, 3, axis=3))
    path, place = tmp_path / "wind.inrv", inrv.Transform.from_voxel_size(0.5)
    lossless = EncodeOptions(lossless=True)
    chunked = da.from_array(masked, chunks=(20, 24, 9, 2), asarray=False)
    inrv.dask.encode(chunked, path, lossless, name="wind", transform=place, background=(7, 8, 9))
    found = inrv.dask.open(path)["wind"]
    assert found.chunks == ((20, 20), (24,), (9, 9, 6), (3,))
    expected = np.where(array[..., :1] < 0, np.float32([7, 8, 9]), array)
    assert np.array_equal(found.compute(), expected)
    assert np.array_equal(found[3:35:4, -1, ::-1, 1].compute(), expected[3:35:4, -1, ::-1, 1])
    grid = inrv.load(path, frame=5)["wind"]
    assert grid.transform == place and grid.box is not None and grid.box.lower >= (20, 0, 18)


def test_a_file_of_blocks_is_a_sequence_to_others(tmp_path: Path) -> None:
    array, path = waves((32, 16, 16)), tmp_path / "waves.inrv"
    inrv.dask.encode(da.from_array(array, chunks=16), path, INSTANT)
    assert inrv.verify(path, decode=True).voxels == np.count_nonzero(array)
    assert list(inrv.load(path).frames) == [0, 1]
    box = inrv.load(path, frame=1)["density"].box
    assert box is not None and box.lower[0] == 16


def test_blocks_without_a_value_are_background(tmp_path: Path) -> None:
    array, path = np.full((24, 8, 8), 2.0), tmp_path / "air.inrv"
    array[9:12] = 3
    inrv.dask.encode(da.from_array(array, chunks=8), path, background=2.0)
    assert np.array_equal(inrv.dask.open(path)["density"].compute(), array)
    nothing = da.full((16, 8, 8), 2.0, chunks=8)
    inrv.dask.encode(nothing, path, background=2.0, overwrite=True)
    assert np.array_equal(inrv.dask.open(path)["density"].compute(), nothing.compute())


def test_numbers_that_the_whole_can_spare_are_rounded(tmp_path: Path) -> None:
    """A block alone would be refused: its float64 numbers range over less than rounding costs."""
    array, path = np.zeros((32, 16, 16)), tmp_path / "warm.inrv"
    array[:16] = np.linspace(1, 2000, 16)[:, None, None]
    array[16:] = 1000 + np.linspace(0, 1e-6, 16)
    inrv.dask.encode(da.from_array(array, chunks=16), path, INSTANT)
    assert errors(path, array).max() < 100
    with pytest.raises(OptionError, match="are off by"):
        inrv.encode_array(array[16:], tmp_path / "alone.inrv", INSTANT)


def test_a_grid_is_decoded_where_it_is_computed(tmp_path: Path) -> None:
    array = waves().astype(np.float32)
    place = (-30, 200, 5)
    grid = inrv.sparse_grid(array, "fog", origin=place)
    air = inrv.sparse_grid(np.zeros((8, 8, 8)), "air")
    inrv.encode([grid, air], tmp_path / "fog.inrv", INSTANT)
    fog = inrv.load(tmp_path / "fog.inrv")["fog"]
    found = inrv.dask.from_volume(fog)
    assert fog.box is not None and found.chunks[0][0] == -fog.box.lower[0]  # a chunk ends at 0
    assert np.array_equal(found.compute(), fog.dense())
    part = inrv.dask.from_volume(fog, chunks=(7, 50, 50), box=((-10, 210, 10), (9, 219, 19)))
    assert part.shape == (20, 10, 10) and part.chunks[0] == (7, 7, 6)
    assert np.array_equal(part[::3].compute(), fog[-10:10:3, 210:220, 10:20])
    assert list(inrv.dask.open(tmp_path / "fog.inrv")) == ["fog"]
    held = pickle.loads(pickle.dumps(inrv.dask.Window(fog, fog.box)))
    assert np.array_equal(held[0:2, 3], fog.dense()[0:2, 3]) and held[4:4].shape[0] == 0
    with pytest.raises(OptionError, match="no active voxel"):
        inrv.dask.from_volume(inrv.load(tmp_path / "fog.inrv")["air"])


def test_frames_of_a_sequence_are_chosen(tmp_path: Path) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT) as writer:
        for number in range(2):
            writer.add(None, {"fog": waves((16, 16, 16)) + 2 + number})
    first, second = (
        inrv.dask.open(tmp_path / "run.inrv", frame=own)["fog"].compute() for own in (None, 1)
    )
    assert (second - first).mean() == pytest.approx(1, abs=0.1)


CHUNKED = da.from_array(waves((16, 16, 16)), chunks=8)


@pytest.mark.parametrize(
    ("array", "more", "words"),
    [
        (np.ones((8, 8, 8)), {}, "of type ndarray, not an array of dask"),
        (CHUNKED[0], {}, r"array shape \(16, 16\) is not"),
        (CHUNKED[CHUNKED > 0], {}, "chunks of known"),
        (da.stack([CHUNKED] * 2, axis=3), {}, r"array shape \(16, 16, 16, 2\)"),
        (CHUNKED, {"options": EncodeOptions(size=1000)}, "`size` would give each block"),
        (CHUNKED, {"options": EncodeOptions(ratio=10)}, "`ratio` would give each block"),
        (CHUNKED, {"options": EncodeOptions(field="fourier")}, "the field 'fourier' would"),
        (CHUNKED, {"value_range": (1, 0)}, r"value_range is \(1, 0\), not"),
        (CHUNKED, {"value_range": "wide"}, "value_range is 'wide', not"),
    ],
)
def test_what_no_block_can_keep_is_refused(
    array: Any, more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        inrv.dask.encode(array, tmp_path / "x.inrv", **more)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_failure_or_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "x.inrv"
    array = waves((16, 16, 16))
    array[15, 15, 15] = np.nan
    with pytest.raises(inrv.NonFiniteError, match=r"at index \(15, 15, 15\)"):
        inrv.dask.encode(da.from_array(array, chunks=8), path, INSTANT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written"):
        inrv.dask.encode(CHUNKED, tmp_path / "missing" / "x.inrv", INSTANT)
    left = tmp_path / ".x.inrv.0123abcd.parts"
    left.mkdir()
    (left / "0.inrv").write_bytes(b"of a run that was killed")
    inrv.dask.encode(CHUNKED, path, INSTANT)
    with pytest.raises(inrv.OutputExistsError):
        inrv.dask.encode(CHUNKED, path, INSTANT)
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_leaves_the_parts_of_another_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.inrv"

    def meanwhile(block: NDArray[Any]) -> NDArray[Any]:
        if not path.exists():
            inrv.dask.encode(CHUNKED, path, INSTANT, value_range=(-1, 1))
        return block

    twice = CHUNKED.map_blocks(meanwhile, meta=np.empty((0, 0, 0)))
    inrv.dask.encode(twice, path, INSTANT, value_range=(-1, 1), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


def test_parts_that_the_asking_program_cannot_see_are_an_error(tmp_path: Path) -> None:
    def elsewhere(block: NDArray[Any]) -> NDArray[Any]:
        for folder in tmp_path.glob(f".x.inrv.{RANDOM}.parts"):
            for part in folder.iterdir():
                part.unlink()
        return block

    hidden = CHUNKED.map_blocks(elsewhere, meta=np.empty((0, 0, 0)))
    with pytest.raises(OutputError, match=r"block \d+ cannot be read at .* must see the folder"):
        inrv.dask.encode(hidden, tmp_path / "x.inrv", INSTANT, value_range=(-1, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "told",
    [
        "none",
        "[]",
        "[" * 100_000,
        json.dumps({"name": "a", "components": 1, "chunks": [[8], [8]]}),
        json.dumps({"name": "a", "components": 1, "chunks": [[8] * 3, [8], [8]]}),
        json.dumps({"name": "a", "components": 1, "chunks": [[1] * 9999] * 3}),
        json.dumps({"name": "a", "components": 1, "chunks": [[8, -8], [8], [8]]}),
        json.dumps({"name": "a", "components": 1, "chunks": [[8, 1e9], [8], [8]]}),
        json.dumps({"name": "a", "components": 1, "chunks": [[8, 10**30], [8], [8]]}),
        json.dumps({"name": 7, "components": 1, "chunks": [[8, 8], [8], [8]]}),
        json.dumps({"name": "a", "components": 2, "chunks": [[8, 8], [8], [8]]}),
    ],
)
def test_metadata_that_tell_of_other_blocks_are_an_error(told: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.inrv"
    with inrv.SequenceWriter(path, INSTANT, metadata={"blocks": told}) as writer:
        for _ in range(2):
            writer.add(None, {"a": np.ones((8, 8, 8))})
    with pytest.raises(SelectionError, match="do not tell how its 2 frames make up an array"):
        inrv.dask.open(path)


def test_a_frame_that_is_no_block_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "odd.inrv"
    told = json.dumps({"name": "a", "components": 3, "chunks": [[8, 8], [8], [8]]})
    assert timeline_of(metadata={"blocks": told}).metadata["blocks"].value == told
    with inrv.SequenceWriter(path, INSTANT, metadata={"blocks": told}) as writer:
        for _ in range(2):
            writer.add(None, {"a": np.ones((8, 8, 8))})
    with pytest.raises(SelectionError, match=r"frame \d is no block"):
        inrv.dask.open(path)["a"].compute()
    with pytest.raises(SelectionError, match="it has no frame to choose"):
        inrv.dask.open(path, frame=1)


def test_without_dask_the_error_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['dask'] = None\nimport inrv, inrv.dask\n"
    code += "try:\n    inrv.dask.encode(None, 'x.inrv')\n"
    code += "except inrv.MissingPackageError as error:\n    print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "pip install 'inrv[dask]'" in done.stdout


@contextmanager
def patience() -> Iterator[None]:
    """Inside, what waits longer than SECONDS is interrupted: a cluster may wait for ever."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"the cluster has not answered within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    """Two workers, which nobody kills but a test.

    They have no limit of memory, beyond which dask would kill them: the tests measure what they
    take.
    """
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("this system has no alarm to end a test that waits for ever")
    with ExitStack() as stack:
        with patience():
            about = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
            cluster = stack.enter_context(LocalCluster(**about, memory_limit=None))
            client = stack.enter_context(Client(cluster))
        yield client
        with patience():
            stack.close()


@pytest.fixture
def cluster(workers: Client) -> Iterator[Client]:
    """The workers, which compute what a test asks for."""
    # A client in place of its name would be part of what a new worker is given, and as no client
    # can be pickled, none would begin in place of one that died.
    with patience(), dask.config.set(scheduler="distributed"):
        yield workers


def peak() -> int:
    """Bytes that this process has had in memory at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def puffs(block_info: Any) -> NDArray[np.float64]:
    """A small puff in each block of empty air."""
    found = np.zeros([stop - start for start, stop in block_info[None]["array-location"]])
    centre = 12 + 4 * np.array(block_info[None]["chunk-location"])
    places = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1)
    found[:32, :32, :32] = np.maximum(0, 7 - np.linalg.norm(places - centre, axis=-1))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are Linux's")
def test_an_array_beyond_memory_is_encoded_within_it(cluster: Client, tmp_path: Path) -> None:
    chunks, nothing = ((128,) * 2, (128,) * 2, (128,) * 3), np.empty((0, 0, 0))
    array = da.map_blocks(puffs, chunks=chunks, dtype=np.float64, meta=nothing)
    assert array.nbytes > MEMORY
    told = inrv.dask.encode(array, tmp_path / "big.inrv", INSTANT, value_range=(0, 7))
    peaks = cluster.run(peak)
    found = inrv.dask.open(tmp_path / "big.inrv")["density"][:, 128:256, 256:]
    missed = float(abs(found - array[:, 128:256, 256:]).max().compute())
    assert told.blocks == 12 and 0 < missed <= told.max_error < 1 and told.bytes_out < 200_000
    assert len(peaks) == 2 and max(peaks.values()) < MEMORY, peaks
    assert list(tmp_path.iterdir()) == [tmp_path / "big.inrv"]


def test_a_worker_that_dies_is_no_matter(cluster: Client, tmp_path: Path) -> None:
    array, fuse = waves((32, 32, 16)), tmp_path / "fuse"
    fuse.touch()

    def deadly(block: NDArray[Any], block_info: Any) -> NDArray[Any]:
        if block_info[0]["chunk-location"] == (1, 0, 0) and fuse.exists():
            fuse.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    chunked = da.from_array(array, chunks=16).map_blocks(deadly, meta=np.empty((0, 0, 0)))
    inrv.dask.encode(chunked, tmp_path / "x.inrv", INSTANT, value_range=(-1, 1))
    cluster.wait_for_workers(2)  # one has begun in place of the one that died
    assert not fuse.exists() and list(tmp_path.iterdir()) == [tmp_path / "x.inrv"]
    assert errors(tmp_path / "x.inrv", array).max() < 0.1
