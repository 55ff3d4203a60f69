"""Writing: exact bytes, round trips of anything a manifest can hold, atomic files."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import re
import tracemalloc
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv import FormatError, InrvError
from inrv.container import (
    Chunk,
    Component,
    FieldEntry,
    FrameEntry,
    MetaEntry,
    assemble,
    container_bytes,
    pack_tensors,
    read_container,
    unpack_tensors,
)
from testing import specification
from testing.examples import (
    EXAMPLES,
    METADATA,
    VECTORS,
    empty,
    fourier,
    grid_entry,
    manifest_of,
    one_leaf,
)
from testing.rebuild import Part, payload

ZSTD_OF_THE_VECTORS = (1, 5, 7)
CONSTANT = (Component(0.0, 0.0, None),)
same_zstd = pytest.mark.skipif(
    zstandard.ZSTD_VERSION != ZSTD_OF_THE_VECTORS,
    reason=f"other zstd than {ZSTD_OF_THE_VECTORS} may compress to other bytes",
)


def test_the_hexdump_of_the_specification_is_a_file() -> None:
    data = specification.hexdump()
    assert read_container(data).manifest.grids
    assert data in [path.read_bytes() for path in specification.ROOT.rglob("*/**/*.inrv")]


@same_zstd
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_library_writes_the_vectors_byte_for_byte(name: str) -> None:
    assert container_bytes(*EXAMPLES[name]()) == (VECTORS / f"{name}.inrv").read_bytes()


def test_the_vectors_are_those_of_the_specification() -> None:
    stated = specification.vectors()
    for path in VECTORS.glob("*.inrv"):
        data = path.read_bytes()
        assert stated[path.name] == (len(data), hashlib.sha256(data).hexdigest())


def test_the_empty_file_byte_for_byte() -> None:
    manifest = (
        b'{"encoding":{},"field":null,"frames":[{"grids":0,"metadata":{},"number":null,'
        b'"passthrough":0,"time":null,"vdb_version":null}],"generator":"inrv","grids":[],'
        b'"passthrough":[]}'
    )
    data = container_bytes(*empty())
    head = bytes.fromhex("89494e52560d0a1a 0200 0000 00000000")
    assert data[:24] == head + len(data).to_bytes(8, "little")
    assert data[24] == 1 and int.from_bytes(data[32:36], "little") == len(manifest)
    assert payload(Part(data[48:], len(manifest), 1)) == manifest
    assert read_container(data).entries == ()


def test_compression_only_where_it_pays() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    for raw, compression in ((noise, 0), (bytes(5000), 1)):
        data = container_bytes(empty()[0], [Chunk("TOPO", raw)])
        entry = read_container(data).entries[0]
        assert entry.compression == compression and (entry.stored < entry.raw) == bool(compression)
        assert read_container(data).chunk(0) == raw


doubles = st.floats(allow_nan=False, allow_infinity=False)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "\udc80\udcff", "\0\x1b", "\u2028"]
)
int32 = st.integers(-(1 << 31), (1 << 31) - 1)
any_single, any_double = st.floats(width=32), st.floats()


def typed(kind: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[MetaEntry]:
    return value.map(lambda found: MetaEntry(kind, found))


entries = st.one_of(
    typed("string", texts),
    typed("bool", st.booleans()),
    typed("int32", int32),
    typed("int64", st.integers(-(1 << 63), (1 << 63) - 1)),
    typed("float", any_single),
    typed("double", any_double),
    typed("vec2i", st.lists(int32, min_size=2, max_size=2)),
    typed("vec3s", st.lists(any_single, min_size=3, max_size=3)),
    typed("mat4d", st.lists(any_double, min_size=16, max_size=16)),
    typed(
        "other", st.binary(max_size=8).map(lambda raw: {"base64": base64.b64encode(raw).decode()})
    ),
)
metadata = st.dictionaries(texts, entries, max_size=4)
ranges = st.tuples(singles, singles).map(sorted)
components = st.builds(lambda r, o: Component(r[0], r[1], o), ranges, st.none() | st.integers(0, 4))
counts = st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)).map(sorted)
grids = st.builds(
    lambda name, parts, matrix, entries, number, half, background: grid_entry(
        name,
        tuple(parts),
        matrix=tuple(matrix),
        metadata=entries,
        leaf_voxels=number[0],
        active_voxels=number[1],
        saved_as_half=half,
        background=tuple(background[: len(parts)]),
    ),
    texts,
    st.lists(components, min_size=1, max_size=1) | st.lists(components, min_size=3, max_size=3),
    st.lists(doubles, min_size=16, max_size=16),
    metadata,
    counts,
    st.booleans(),
    st.lists(singles, min_size=3, max_size=3),
)
plain = st.none() | st.booleans() | int32 | doubles | texts
free = st.dictionaries(
    texts,
    st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
)


def exactly(value: Any) -> Any:
    """A form in which NaN is equal to itself, 1 differs from 1.0 and True, and -0.0 from 0.0.

    The order of keys means nothing.
    """
    if isinstance(value, dict):
        return sorted((key, exactly(item)) for key, item in value.items())
    return [exactly(item) for item in value] if isinstance(value, (list, tuple)) else repr(value)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(texts, metadata, st.lists(grids, max_size=3), free)
def test_any_manifest_comes_back(
    generator: str, about: dict[str, MetaEntry], found: list[Any], encoding: dict[str, Any]
) -> None:
    field = FieldEntry("another", 5, {"any": [1, 2.5, "x", None, {"deep": [True]}]})
    manifest = replace(
        manifest_of(found, field, metadata=about, encoding=encoding), generator=generator
    )
    chunks = [Chunk("TOPO", b"payload"), Chunk("NETW", b"")]
    data = container_bytes(manifest, chunks)
    opened = read_container(data)
    assert exactly(asdict(opened.manifest)) == exactly(asdict(manifest))
    assert [opened.chunk(number) for number in range(2)] == [b"payload", b""]
    assert container_bytes(opened.manifest, chunks) == data


def test_metadata_values_keep_their_python_types() -> None:
    found = read_container(container_bytes(*fourier())).manifest.grids[0].metadata
    assert repr(found) == repr(dict(sorted(METADATA.items())))
    assert math.isnan(found["nothing"].value) and found["bounds"].value == [
        -math.inf,
        0.1,
        math.inf,
    ]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(
            st.sampled_from(["int8", "uint8", "int32", "float16", "float32"]),
            st.lists(st.integers(0, 4), max_size=4),
        ),
        max_size=5,
    )
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_tensors_come_back(described: dict[str, tuple[str, list[int]]]) -> None:
    tensors = {
        name: np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
        for name, (dtype, shape) in described.items()
    }
    data = pack_tensors(tensors)
    assert data == pack_tensors(dict(reversed(tensors.items())))
    found = unpack_tensors(data)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (
            found[name].dtype == tensor.dtype
            and np.array_equal(found[name], tensor)
            and found[name].shape == tensor.shape
        )


def test_tensors_need_not_be_contiguous() -> None:
    tensor = np.arange(24, dtype=np.int32).reshape(4, 6)[::2, ::3].T
    assert np.array_equal(unpack_tensors(pack_tensors({"a": tensor}))["a"], tensor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": {"rate": math.nan}}, "cannot be written as JSON"),
        ({"encoding": {"when": object()}}, "cannot be written as JSON"),
        ({"generator": "\ud800"}, "surrogates not allowed"),
        ({"grids": (grid_entry("g", CONSTANT, outliers=0),)}, "outliers is 0, a TOPO chunk"),
        ({"grids": (grid_entry("g", (Component(0.0, 1.0, 0),)),)}, "field's outputs, 0"),
        ({"grids": ()}, "its frames have 1 grids together, the manifest has 0"),
        (
            {"frames": (FrameEntry(None, None, 1, 0, {"a": MetaEntry("int32", "text")}, None),)},
            "metadata.a.value is 'text'",
        ),
        ({"frames": ()}, "frames is .*at least one frame"),
    ],
)
def test_what_no_reader_accepts_is_not_written(changes: dict[str, Any], message: str) -> None:
    manifest, chunks = one_leaf()
    with pytest.raises(FormatError, match=message):
        container_bytes(replace(manifest, **changes), chunks)


def test_chunks_and_tensors_the_format_does_not_have_are_refused() -> None:
    with pytest.raises(
        FormatError, match="chunk 0 is of type 'LATT'; the format has TOPO, INAC, EXAC, FREQ, CODE"
    ):
        container_bytes(empty()[0], [Chunk("LATT", b"")])
    with pytest.raises(FormatError, match="tensor 'a' is of dtype float64"):
        pack_tensors({"a": np.zeros(3)})


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "volume.inrv"
    path.write_bytes(b"older")
    data = container_bytes(*fourier())
    assemble(*fourier()).write(path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("failing", ["fsync", "replace", "link"])
def test_a_failure_leaves_the_old_file_and_no_other(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "volume.inrv"
    path.write_bytes(b"older")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(InrvError, match=r"volume\.inrv cannot be written: No space left on device"):
        assemble(*fourier()).write(path)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "volume.inrv"
    path.write_bytes(b"older")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        assemble(*fourier()).write(path)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "volume.inrv", tmp_path):
        with pytest.raises(InrvError, match=re.escape(str(path)) + " cannot be written"):
            assemble(*one_leaf()).write(path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_and_written_without_being_joined(tmp_path: Path) -> None:
    bits = np.random.default_rng(3).integers(0, 256, 1 << 24, dtype=np.uint8).tobytes()
    path, opened = tmp_path / "large.inrv", io.BytesIO()
    tracemalloc.start()
    file = assemble(empty()[0], [Chunk("CODE", b"index"), Chunk("BITS", bits)])
    some = bits[9_000_000:9_000_009]
    part = read_container(file).part(1, 9_000_000, 9, zlib.crc32(some))
    file.write(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22 and part == some
    file.write(opened)
    data = file.joined()
    assert data == path.read_bytes() == opened.getvalue() == file.open().read()
    at, end = read_container(file).entries[0].offset, len(data)
    ranges = [(0, 5), (at - 3, 6), (at, 5), (at + 4, 9), (end - 2, 9), (end, 1), (7, 0)]
    assert file.parts(ranges) == [data[start : start + length] for start, length in ranges]
    assert file.size == end and file.view() == data
