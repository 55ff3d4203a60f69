"""Every error condition of the specification: a FormatError with its id that says what is wrong."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, FormatError, SparseVolume
from inrv.container import Limits, container_bytes, pack_tensors, read_container, unpack_tensors
from inrv.fields.lattice.constants import SETS
from inrv.fields.lattice.model import Differences, default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.grids import sparse_grid
from testing import specification
from testing.examples import (
    BLOCKS,
    LEAVES,
    VECTORS,
    coded_cells,
    coded_inactive,
    no_field,
    no_field_masks,
)
from testing.rebuild import File, compressed, payload, take_apart, tensor_file

from .test_sequence import DAMAGE

GOOD = (VECTORS / "fourier.inrv").read_bytes()
TOPO, INAC, VECTOR_INAC, NETW, SAMP = 0, 1, 2, 4, 5  # chunk numbers in that file
SIZE, RAW = len(GOOD), take_apart(GOOD).chunks[TOPO].raw
GOOD_BARE = container_bytes(*no_field())
PREDICTED, BARE_INAC, EXAC = 1, 2, 3  # chunk numbers in that file, whose first is a topology too
FREQ, FREQ_EXAC, FREQ_CODE = 1, 3, 4  # chunk numbers in `frequent`, the first of each kind

Change = Callable[[File], bytes | None]


def setting(**values: Any) -> Change:
    """Set fields of the header."""
    return lambda file: file.header.update(values)


def entry(number: int, **values: Any) -> Change:
    """Set fields of a chunk's table entry."""

    def change(file: File) -> None:
        for name, value in values.items():
            setattr(file.chunks[number], name, value)

    return change


def manifest(path: str, value: Any) -> Change:
    """Set a value of the manifest, or remove it with `...`."""
    return lambda file: file.edit_manifest(path, value)


def json_text(old: bytes, new: bytes) -> Change:
    """Replace text of the manifest."""

    def change(file: File) -> None:
        raw = payload(file.manifest)
        assert old in raw
        file.set_manifest(raw.replace(old, new, 1))

    return change


def tensors(number: int, **values: Any) -> Change:
    """Replace tensors of a chunk, names with '_' for '.'; None removes one."""

    def change(file: File) -> None:
        arrays = unpack_tensors(payload(file.chunks[number]))
        for name, value in values.items():
            key = next((key for key in arrays if key.replace(".", "_") == name), name)
            arrays[key] = value(arrays[key].copy()) if callable(value) else value
        data = pack_tensors({key: value for key, value in arrays.items() if value is not None})
        file.chunks[number].stored, file.chunks[number].raw, file.chunks[number].compression = (
            data,
            len(data),
            0,
        )

    return change


def raw_chunk(number: int, data: bytes) -> Change:
    """Replace the payload of a chunk."""
    return entry(number, stored=data, raw=len(data), compression=0)


def at(index: Any, value: Any) -> Callable[[Any], Any]:
    """Set one element of an array."""

    def change(array: Any) -> Any:
        array[index] = value
        return array

    return change


def flipped(position: int) -> Change:
    """One bit of the file flipped, checksums left as they are."""

    def change(file: File) -> bytes:
        data = bytearray(file.to_bytes())
        data[position] ^= 1
        return bytes(data)

    return change


def frame_without_size(file: File) -> None:
    part = file.chunks[TOPO]
    part.stored = compressed(payload(part), write_content_size=False)


def hole(file: File) -> None:
    file.chunks[INAC].offset = len(GOOD) - 10


def wrapped_offset(file: File) -> None:
    file.chunks[INAC].offset = (1 << 64) - 1


def appended_frame(file: File) -> None:
    part = file.chunks[TOPO]
    part.stored += compressed(b"more")


def many_chunks(file: File) -> None:
    file.header["chunks"] = (1 << 16) + 1


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def many_grids(file: File) -> None:
    file.set_manifest(payload(file.manifest).replace(b'"grids":[', b'"grids":[' + b"0," * 4097, 1))


def frames(*moments: tuple[float | None, float | None]) -> Change:
    """Frames with these numbers and times, of which the last has all grids."""
    plain = {"metadata": {}, "passthrough": 0, "vdb_version": None}
    held = [plain | {"number": n, "time": t, "grids": 0} for n, t in moments]
    held[-1]["grids"] = 3
    return manifest("frames", held)


def overlap(file: File) -> None:
    file.chunks[INAC].offset = len(GOOD) - 600


def overflow(file: File) -> None:
    """A network whose outputs are not finite, and no samples that would show it."""
    tensors(NETW, layers_2_weight=lambda a: a * 0 + 3e38)(file)
    file.edit_manifest("field.config.samples", None)


def bfloat16() -> bytes:
    return tensor_file({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, bytes(2))


U8 = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
I64 = {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}
F, G, C, L = "field.config.", "grids.0.", "grids.1.components.", "field.config.channels."
P = "passthrough."
FRAME = "frames.0."


def bare(change: Change) -> Change:
    """The same change to a file without a field."""

    def changed(_: File) -> bytes:
        file = take_apart(GOOD_BARE)
        data = change(file)
        return file.to_bytes() if data is None else data

    return changed


def cells(leaves: int, tiles: int) -> Change:
    """Cells of the first block, a bit each, in place of all others."""
    of_leaves, of_tiles = np.zeros((2, 2, 64), np.uint8)
    of_leaves[0, 0], of_tiles[0, 0] = leaves, tiles
    coded = coded_cells("leaf", BLOCKS, of_leaves)
    coded |= coded_cells("tile", BLOCKS, of_tiles, of_leaves)
    return bare(tensors(TOPO, **coded))


def inactive_everywhere(file: File) -> None:
    active = no_field_masks()
    tensors(BARE_INAC, **coded_inactive(LEAVES, active * 0 + 255, active))(file)


def vector_rule(file: File) -> None:
    file.edit_manifest("grids.1.threshold", 0.5)
    file.edit_manifest("grids.1.threshold_rule", "within")


@lru_cache(maxsize=1)
def good_lattice() -> bytes:
    """Two channels of a lattice, the second predicted from the first, both restored.

    Their codes are the last two chunks.
    """
    density = np.linspace(0, 1, 512, dtype=np.float32).reshape(8, 8, 8) ** 2
    grids = (sparse_grid(density + 1, "density"), sparse_grid(3 * density + 1, "temperature"))
    options = EncodeOptions(exact_below=0, effort="instant", psnr=30, device="cpu")
    # So small a volume may be smaller as a wavelet, or without the filter.
    with patch.multiple("inrv.fields.lattice.search", WAVELET_BITS=0.0, LOW_RATE=0.0):
        return inrv.encode_bytes(SparseVolume(grids), options)[0]


def lattice(*changes: Change) -> Change:
    """The same changes to a file of a lattice."""

    def changed(_: File) -> bytes:
        file = take_apart(good_lattice())
        for change in changes:
            change(file)
        return file.to_bytes()

    return changed


def golden(name: str, *changes: Change) -> Change:
    """The same changes to a golden file."""

    def changed(_: File) -> bytes:
        file = take_apart((VECTORS / f"{name}.inrv").read_bytes())
        for change in changes:
            change(file)
        return file.to_bytes()

    return changed


def frequent(*changes: Change) -> Change:
    """The same changes to a file whose first grid has two frequent values.

    Its second grid has one, and exact values.
    """
    return golden("frequent", *changes)


def palette(*changes: Change) -> Change:
    """The same changes to one whose last channel is lossless and has a low bit."""
    return golden("palette", *changes)


def full(masks: Any) -> Any:
    """Kinds of masks that need no bytes, each of which claims every voxel."""
    return masks * 0 + 1


def fitted(change: Change) -> Change:
    """A file of a lattice whose second channel has networks of its own."""
    return lattice(manifest("field.config.channels.1.fitted", True), change)


def differing(name: str, by: float) -> Change:
    """The second channel's networks differ from the default ones in a number."""
    default = default_model(True, True)
    tensor = default.networks[2].tensors[name].copy()
    tensor.flat[0] += by
    changed = IntegerNetwork({**default.networks[2].tensors, name: tensor})
    found = Differences.of(
        dataclasses.replace(default, networks={**default.networks, 2: changed}), default
    )
    return stored(found)


def stored(found: Differences) -> Change:
    """The last channel's networks differ so from the default ones."""
    codes = np.frombuffer(found.codes, np.uint8)
    return tensors(-1, network_tables=found.tables, network_codes=codes)


def chained(file: File) -> None:
    """So many masks, each predicted from the one before."""
    before = PREDICTED
    for _ in range(64):
        file.chunks.append(dataclasses.replace(file.chunks[PREDICTED]))
        tensors(len(file.chunks) - 1, predicted_from=at(0, before))(file)
        before = len(file.chunks) - 1
    for number in (1, 4):
        file.edit_manifest(f"grids.{number}.topology", len(file.chunks) - 1)


def bit_outside(masks: Any) -> Any:
    """An exact value in the empty leaf."""
    masks[2, 0] = 1
    return masks


def twice() -> bytes:
    about = json.dumps(U8).encode()
    return tensor_file(b'{"a":%b,"a":%b}' % (about, about), b"x")


# Identity, what is done, and what the message says.
CASES: list[tuple[str, str, Change, str]] = [
    ("H1", "empty", lambda file: b"", "not an .inrv file"),
    ("H1", "magic only", lambda file: GOOD[:10], "10 bytes.*truncated"),
    ("H1", "half a header", lambda file: GOOD[:30], "30 bytes.*48"),
    ("H2", "text mode", lambda file: GOOD.replace(b"\r\n", b"\n", 1), "starts with"),
    ("H2", "another file", lambda file: b"\x89PNG\r\n\x1a\n" + GOOD, "PNG.*not an .inrv file"),
    (
        "H3",
        "next major",
        setting(major=3, minor=3),
        r"version 3\.3; this inrv reads 2\.x: .* reads 3\.x",
    ),
    (
        "H3",
        "next major, other header",
        lambda file: GOOD[:8] + b"\3\0\0\0" + b"?" * 9,
        r"version 3\.0.* reads 3\.x",
    ),
    (
        "H3",
        "draft",
        setting(major=1, minor=4),
        r"version 1\.4; this inrv reads 2\.x: .* encode the volume anew",
    ),
    ("H4", "flipped bit", flipped(20), "header has the checksum [0-9a-f]{8}, expected [0-9a-f]{8}"),
    ("H5", "truncated", lambda file: GOOD[:-1], f"should have {SIZE:,} bytes and has {SIZE - 1:,}"),
    ("H5", "grown", lambda file: GOOD + b"\0", f"should have {SIZE:,} bytes and has {SIZE + 1:,}"),
    ("H6", "too many chunks", many_chunks, "65,537 chunks, more than the limit of 65,536"),
    ("H7", "manifest beyond the end", setting(stored=1 << 31, raw=1 << 31), "beyond the file's"),
    ("H7", "table beyond the end", setting(chunks=1000), "beyond the file's"),
    ("T1", "flipped bit", flipped(70), "chunk table has the checksum"),
    ("T2", "digits", entry(SAMP, type=b"REF5"), "chunk 5 'REF5': .*four ASCII letters"),
    ("T2", "not ASCII", entry(SAMP, type=b"\xe9\xe9\xe9\xe9"), "four ASCII letters"),
    (
        "T3",
        "TOPO ancillary",
        entry(TOPO, flags=0),
        "chunk 0 'TOPO' has the critical flag 0; expected 1",
    ),
    (
        "T3",
        "SAMP critical",
        entry(SAMP, flags=1),
        "chunk 5 'SAMP' has the critical flag 1; expected 0",
    ),
    (
        "T4",
        "unknown critical",
        lambda file: file.add(b"LATT", 1, b"x"),
        "'LATT' is critical.*newer release",
    ),
    ("T5", "flag bit", entry(TOPO, flags=3), "reserves.*flags 3"),
    ("T5", "spare", entry(TOPO, spare=1), "reserves"),
    ("T5", "reserved", entry(TOPO, reserved=1), "reserves"),
    ("T6", "hole", hole, r"chunk 1 'INAC' lies at .* expected at"),
    ("T6", "overflowing offset", wrapped_offset, "lies at 18,446,744,073,709,551,615"),
    ("T6", "overlap", overlap, f"lies at {SIZE - 600:,}"),
    (
        "T7",
        "tail",
        lambda file: setattr(file, "tail", b"tail"),
        f"last chunk ends at {SIZE:,}, the file at {SIZE + 4:,}",
    ),
    ("C1", "manifest", setting(compression=3), "manifest has compression 3; known are 0"),
    (
        "C1",
        "plain zstd of drafts",
        entry(NETW, compression=2),
        "chunk 4 'NETW' has compression 2; known are 0",
    ),
    ("C1", "chunk", entry(NETW, compression=9), "chunk 4 'NETW' has compression 9"),
    (
        "C2",
        "manifest",
        setting(raw=(1 << 24) + 1),
        "manifest unpacks to 16,777,217 bytes, more than the limit of 16,777,216",
    ),
    (
        "C2",
        "chunk",
        entry(NETW, raw=(1 << 32) + 1),
        "chunk 4 'NETW' unpacks to 4,294,967,297 bytes",
    ),
    ("C8", "bits", entry(NETW, type=b"BITS"), "chunk 4 'BITS' is compressed: its parts"),
    ("C3", "chunk", entry(NETW, compression=0), "chunk 4 'NETW' is not compressed, yet"),
    ("C4", "chunk", entry(NETW, raw=1), "chunk 4 'NETW' is compressed, yet"),
    ("C5", "manifest", flipped(400), "manifest has the checksum"),
    ("C5", "chunk", flipped(len(GOOD) - 1), "chunk 5 'SAMP' has the checksum"),
    (
        "C6",
        "not zstd",
        entry(NETW, stored=b"\x08plain", raw=99),
        "chunk 4 'NETW' is not one valid zstd frame",
    ),
    (
        "C6",
        "cut",
        lambda file: entry(TOPO, stored=file.chunks[TOPO].stored[:-1])(file),
        "not one valid zstd frame",
    ),
    ("C6", "two frames", appended_frame, "not one valid zstd frame"),
    ("C7", "no size", frame_without_size, f"zstd frame of -1 bytes .* expected {RAW:,}"),
    (
        "C7",
        "other size",
        entry(TOPO, raw=RAW + 10),
        f"zstd frame of {RAW:,} bytes .* expected {RAW + 10:,}",
    ),
    (
        "C7",
        "bomb",
        entry(TOPO, stored=compressed(bytes(1 << 20)), raw=RAW),
        "frame of 1,048,576 bytes",
    ),
    ("M1", "not JSON", lambda file: file.set_manifest(b"{]"), "manifest is not valid JSON"),
    ("M1", "not UTF-8", lambda file: file.set_manifest(b'{"\xff"'), "manifest is not valid JSON"),
    ("M1", "empty", lambda file: file.set_manifest(b""), "manifest is not valid JSON"),
    (
        "M2",
        "twice",
        json_text(b'"generator"', b'"generator":"","generator"'),
        "the key 'generator' twice",
    ),
    ("M3", "NaN", json_text(b'"scale":0.0078125', b'"scale":NaN'), "NaN is not a JSON number"),
    ("M3", "infinity", json_text(b'"scale":0.0078125', b'"scale":-Infinity'), "-Infinity is not"),
    ("M3", "too large", json_text(b'"scale":0.0078125', b'"scale":1e999'), "1e999 is too large"),
    ("M3", "too long", json_text(b'"scale":0.0078125', b'"scale":' + b"1" * 65), "too long"),
    (
        "M3",
        "too long a fraction",
        json_text(b'"scale":0.0078125', b'"scale":0.' + b"1" * 65),
        "too long",
    ),
    ("M4", "33 levels", manifest("encoding", nested(31)), "deeper than 32 levels"),
    (
        "M4",
        "a million levels",
        lambda file: file.set_manifest(b"[" * 1_000_000),
        "manifest is not valid JSON",
    ),
    ("M5", "value", json_text(b'"inrv"', b'"\\ud800"'), "surrogates not allowed"),
    ("M5", "key", json_text(b'"preset"', b'"\\udc7f"'), "surrogates not allowed"),
    ("M6", "root", manifest("passthrough", ...), "manifest lacks the key 'passthrough'"),
    (
        "M6",
        "threshold",
        manifest(G + "threshold", ...),
        r"manifest.grids\[0\] lacks the key 'threshold'",
    ),
    ("M6", "grid", manifest(G + "matrix", ...), r"manifest.grids\[0\] lacks the key 'matrix'"),
    (
        "M6",
        "component",
        manifest(C + "0.output", ...),
        r"grids\[1\].components\[0\] lacks the key 'output'",
    ),
    (
        "M6",
        "metadata",
        manifest(G + "metadata.frame.type", ...),
        "metadata.frame lacks the key 'type'",
    ),
    ("M6", "field", manifest("field.config", ...), "manifest.field lacks the key 'config'"),
    ("M6", "outputs", manifest("field.outputs", ...), "manifest.field lacks the key 'outputs'"),
    ("M6", "tensors", manifest(F + "tensors", ...), "field.config lacks the key 'tensors'"),
    (
        "M6",
        "channel",
        lattice(manifest(L + "0.exterior", ...)),
        r"channels\[0\] lacks the key 'exterior'",
    ),
    ("M6", "fourier", manifest(F + "origin", ...), "field.config lacks the key 'origin'"),
    ("M7", "root", lambda file: file.set_manifest(b"[]"), "must be an object"),
    ("M7", "generator", manifest("generator", 1), "manifest.generator is 1: must be a string"),
    ("M7", "grids", manifest("grids", {}), "manifest.grids is .*must be a list"),
    ("M7", "encoding", manifest("encoding", []), "manifest.encoding is .*must be an object"),
    ("M7", "flag", manifest(G + "saved_as_half", 1), "saved_as_half is 1: must be true or false"),
    (
        "M7",
        "count",
        manifest(G + "active_voxels", -1),
        "active_voxels is -1: must be a whole number from 0",
    ),
    (
        "M7",
        "large count",
        manifest(G + "active_voxels", 1 << 63),
        "must be a whole number from 0 to 2.63 - 1",
    ),
    ("M7", "fraction", manifest(G + "topology", 0.0), "topology is 0.0: must be a whole number"),
    (
        "M7",
        "bool count",
        manifest(G + "topology", False),
        "topology is False: must be a whole number",
    ),
    ("M7", "matrix", manifest(G + "matrix.3", "0"), r"matrix\[3\] is '0': must be a number"),
    (
        "M7",
        "background",
        manifest(G + "background.0", 1e39),
        r"background\[0\] is 1e\+39: .*float32",
    ),
    ("M7", "minimum", manifest(C + "0.minimum", -1e39), "minimum is -1e.39: .*float32"),
    (
        "M7",
        "value type",
        manifest(G + "value_type", "double"),
        "value_type is 'double': must be one of float, vec3s",
    ),
    (
        "M7",
        "no outputs",
        manifest("field.outputs", 0),
        "outputs is 0: must be a whole number from 1",
    ),
    (
        "M7",
        "neurons",
        manifest(F + "neurons", 10**12),
        "neurons is 1000000000000: .* from 1 to 1048576",
    ),
    ("M7", "no neurons", manifest(F + "neurons", 0), "neurons is 0: .* from 1 to 1048576"),
    (
        "M7",
        "no frequencies",
        manifest(F + "frequencies", 0),
        "frequencies is 0: .* from 1 to 1048576",
    ),
    (
        "M7",
        "no metadata entry",
        manifest(FRAME + "metadata.creator", "me"),
        "creator is 'me': must be an object",
    ),
    (
        "M7",
        "an escape as key",
        manifest(FRAME + "metadata.\x1b[31m\udc80", 1),
        r"metadata\.'\\x1b\[31m\\udc80' is 1: must",
    ),
    ("M7", "layers", manifest(F + "layers", 1025), "layers is 1025: .* 0 to 1024"),
    (
        "M7",
        "tolerance",
        manifest(F + "tolerance", 0.00001),
        "tolerance is 1e-05: must lie between 0.0001 and 1",
    ),
    (
        "M7",
        "tolerance2",
        manifest(F + "tolerance", 1.5),
        "tolerance is 1.5: must lie between 0.0001 and 1",
    ),
    (
        "M7",
        "activation",
        manifest(F + "activation", "exec"),
        "activation is 'exec': must be one of relu, silu",
    ),
    ("M7", "scale", manifest(F + "scale", None), "scale is None: must be a number"),
    (
        "M7",
        "rule",
        manifest(G + "threshold_rule", "beside"),
        "threshold_rule is 'beside': must be one of above, away, within",
    ),
    (
        "M7",
        "box",
        manifest(G + "box.1.2", -9),
        "box is .*: its highest corner must not lie below its lowest",
    ),
    (
        "M7",
        "corner",
        manifest(G + "box.0.0", 0.5),
        r"box\[0\]\[0\] is 0.5: must be a whole number of 32 bits",
    ),
    ("M7", "step", lattice(manifest(L + "0.steps.6", 31)), r"steps\[6\] is 31: .* 32 to 512"),
    ("M7", "top", lattice(manifest(L + "0.top", 0)), "top is 0: .* 1 to 8388608"),
    ("M7", "background", lattice(manifest(L + "0.background", -8388609)), r"within \+-8388608"),
    ("M7", "units", lattice(manifest(L + "0.scale", 0)), "scale is 0: must be above 0"),
    (
        "M7",
        "reference",
        lattice(manifest(L + "1.reference", 1)),
        "reference is 1: must be the number of an earlier channel",
    ),
    (
        "M7",
        "exterior",
        lattice(manifest(L + "0.exterior", None)),
        "exterior is None: must be true or false",
    ),
    (
        "M7",
        "restoration",
        lattice(manifest(L + "0.restoration", 1)),
        "restoration is 1: must be true or false",
    ),
    ("M7", "offsets", lattice(manifest(L + "0.offsets", 1)), "offsets is 1: must be true or false"),
    (
        "M7",
        "lossless",
        lattice(manifest(L + "0.lossless", None)),
        "lossless is None: must be true or false",
    ),
    (
        "M7",
        "both",
        palette(manifest(L + "0.offsets", True)),
        "offsets is True: must be false where .* lossless",
    ),
    ("M7", "trellis", lattice(manifest(L + "0.trellis", 2)), "trellis is 2: must be true or false"),
    ("M7", "wavelet", lattice(manifest(L + "0.wavelet", 2)), "wavelet is 2: must be true or false"),
    (
        "M7",
        "lossless trellis",
        palette(manifest(L + "0.trellis", True)),
        "trellis is True: must be false where .* lossless",
    ),
    ("M7", "set", lattice(manifest(L + "0.set", SETS)), "set is 6: .* from 0 to 5"),
    ("M7", "set below", lattice(manifest(L + "0.set", -1)), "set is -1: .* from 0 to 5"),
    ("M7", "set fraction", lattice(manifest(L + "0.set", 0.0)), "set is 0.0: .* whole number"),
    (
        "M7",
        "topology of",
        bare(manifest(G + "topology_of", -1)),
        "topology_of is -1: must be a whole number",
    ),
    (
        "M8",
        "background",
        manifest(G + "background", [0.0, 0.0, 0.0]),
        "background is .*list of (at most )?1 items",
    ),
    ("M8", "components", manifest("grids.1.components", []), "components is .*list of 3 items"),
    ("M8", "matrix", manifest(G + "matrix", [1.0] * 15), "matrix is .*list of 16 items"),
    ("M8", "origin", manifest(F + "origin", [1.0]), "origin is .*list of 3 items"),
    ("M8", "steps", lattice(manifest(L + "0.steps", [128] * 6)), "steps is .*list of 7 items"),
    ("M8", "channels", lattice(manifest("field.outputs", 3)), "channels is .*list of 3 items"),
    ("M8", "grids", many_grids, "at most 4096"),
    ("M9", "range", manifest(C + "0.minimum", 1.5), "maximum must not be below its minimum"),
    (
        "M9",
        "no range",
        frequent(manifest(G + "components.0.minimum", 1), manifest(G + "components.0.maximum", 1)),
        "be above",
    ),
    (
        "M10",
        "beyond",
        manifest(C + "0.output", 3),
        "output is 3: must be below the number of the field's outputs, 3",
    ),
    (
        "M10",
        "no field",
        manifest("field", None),
        "must be below the number of the field's outputs, 0",
    ),
    (
        "M11",
        "beyond",
        manifest(G + "topology", 6),
        r"grids\[0\].topology is 6, beyond the chunk table.* TOPO",
    ),
    (
        "M11",
        "other type",
        manifest(G + "topology", 4),
        r"grids\[0\].topology is 4, a NETW chunk.* TOPO",
    ),
    (
        "M11",
        "inactive",
        manifest(G + "inactive_values", 0),
        "inactive_values is 0, a TOPO chunk.* INAC",
    ),
    (
        "M11",
        "exact",
        bare(manifest(G + "exact_values", 2)),
        "exact_values is 2, a INAC chunk.* EXAC",
    ),
    ("M11", "field", manifest(F + "tensors", 5), "field.config.tensors is 5, a SAMP chunk.* NETW"),
    (
        "M11",
        "samples",
        manifest(F + "samples", 4),
        "field.config.samples is 4, a NETW chunk.* SAMP",
    ),
    (
        "M11",
        "passthrough",
        bare(manifest(P + "0.chunks.1", 3)),
        r"passthrough\[0\].chunks\[1\] is 3, a EXAC chunk.* PASS",
    ),
    ("M11", "outliers", manifest(G + "outliers", 0), "outliers is 0, a TOPO chunk.* EXAC"),
    (
        "M11",
        "frequent",
        frequent(manifest(G + "frequent_values", 0)),
        "frequent_values is 0, a TOPO chunk.* FREQ",
    ),
    (
        "M11",
        "codes",
        lattice(manifest(L + "0.codes", 0)),
        r"channels\[0\].codes is 0, a TOPO chunk.* CODE",
    ),
    (
        "M12",
        "bool",
        manifest(G + "metadata.flag.value", 1),
        "flag.value is 1: must be true or false",
    ),
    ("M12", "int32", manifest(G + "metadata.frame.value", 1 << 31), "whole number of 32 bits"),
    ("M12", "int64", manifest(G + "metadata.large.value", 1 << 63), "whole number of 64 bits"),
    ("M12", "float", manifest(G + "metadata.exposure.value", 1e39), "range of float32"),
    (
        "M12",
        "double",
        manifest(G + "metadata.nothing.value", {"float": "NaN"}),
        "must be one of nan, inf, -inf",
    ),
    (
        "M12",
        "double object",
        manifest(G + "metadata.nothing.value", {"double": 1}),
        "lacks the key 'float'",
    ),
    ("M12", "length", manifest(G + "metadata.size.value", [1, 2]), "list of 3 items"),
    (
        "M12",
        "element",
        manifest(G + "metadata.size.value", [1, 2, 3.5]),
        r"size.value\[2\] is 3.5: must be a whole number",
    ),
    ("M12", "string", manifest(G + "metadata.creator.value", 5), "must be a string"),
    ("M12", "unknown type", manifest(G + "metadata.opaque.value", "text"), "base64"),
    ("M12", "not base64", manifest(G + "metadata.opaque.value", {"base64": "A"}), "valid base64"),
    (
        "M12",
        "base64 and more",
        manifest(G + "metadata.opaque.value", {"base64": "", "x": 1}),
        "valid base64",
    ),
    ("M13", "counts", manifest(G + "active_voxels", 1), "leaf_voxels is 773: .*active_voxels"),
    ("M14", "other key", manifest(F + "import", "os"), "has the key 'import'"),
    (
        "M14",
        "lattice",
        lattice(manifest("field.config.import", "os")),
        "has the key 'import', which a lattice field",
    ),
    (
        "M14",
        "channel",
        lattice(manifest(L + "1.import", "os")),
        "has the key 'import', which a channel of a lattice",
    ),
    (
        "M15",
        "position",
        bare(manifest("passthrough.0.position", 2)),
        r"passthrough\[\d\].position is 2: .*place of its own",
    ),
    (
        "M15",
        "beyond",
        bare(manifest("passthrough.0.position", 7)),
        "position is 7: must be a place of its own .* 7 grids of its frame",
    ),
    (
        "M15",
        "parent",
        bare(manifest("passthrough.1.parent", 0)),
        "parent is 0: must be the place of another passthrough grid",
    ),
    (
        "M15",
        "own parent",
        bare(manifest("passthrough.1.parent", 2)),
        "parent is 2: must be the place of another",
    ),
    (
        "M16",
        "bytes",
        bare(manifest("passthrough.0.bytes", 201)),
        r"passthrough\[0\].bytes is 201, its chunks hold 200",
    ),
    (
        "M17",
        "version",
        bare(manifest(FRAME + "vdb_version", [200, 6, 0])),
        "first number must be from 222 to 225",
    ),
    (
        "M17",
        "unknown version",
        bare(manifest(FRAME + "vdb_version", [226, 6, 0])),
        "first number must be from 222 to 225",
    ),
    (
        "M18",
        "vector",
        manifest("grids.1.threshold", 0.5),
        "threshold is 0.5: must be null for a grid of vec3s",
    ),
    (
        "M18",
        "rule",
        vector_rule,
        "threshold is 0.5: must be null for a grid of vec3s where the rule is not 'away'",
    ),
    (
        "M19",
        "beyond",
        bare(manifest(G + "topology_of", 5)),
        "topology_of is 5: .* of a grid that has a threshold",
    ),
    (
        "M19",
        "other topology",
        bare(manifest(G + "topology_of", 1)),
        "topology_of is 1: .* the same topology",
    ),
    (
        "M19",
        "no threshold",
        golden("frequent", manifest(G + "topology_of", 1)),
        "topology_of is 1: .* has a threshold",
    ),
    (
        "M19",
        "itself",
        bare(manifest("grids.1.topology_of", 1)),
        "topology_of is 1: .* its own threshold must be null",
    ),
    ("M20", "no frame", manifest("frames", []), "must have at least one frame"),
    ("M20", "grids", manifest(FRAME + "grids", 2), "have 2 grids together, the manifest has 3"),
    (
        "M20",
        "passthrough",
        bare(manifest(FRAME + "passthrough", 3)),
        "have 3 passthrough together, the manifest has 2",
    ),
    ("M20", "no number", frames((None, None), (2, None)), "each have a number of its own"),
    ("M20", "a number twice", frames((2, None), (1, None), (2, None)), "a number of its own"),
    ("M20", "one time", frames((1, 0.5), (2, None)), "must ascend with the numbers"),
    ("M20", "times fall", frames((2, 0.5), (1, 0.6)), "must ascend with the numbers"),
    ("S1", "empty", raw_chunk(TOPO, b""), "not valid safetensors"),
    ("S1", "no JSON", raw_chunk(TOPO, tensor_file(b"[[[[")), "not valid safetensors"),
    ("S1", "long header", raw_chunk(TOPO, b"\xff" * 16), "not valid safetensors"),
    ("S1", "beyond", raw_chunk(TOPO, tensor_file({"a": U8})), "not valid safetensors"),
    ("S1", "hole", raw_chunk(TOPO, tensor_file({"a": U8}, b"xy")), "not valid safetensors"),
    (
        "S1",
        "overflow",
        raw_chunk(TOPO, tensor_file({"a": U8 | {"shape": [1 << 62, 4]}}, b"x")),
        "not valid safetensors",
    ),
    (
        "S1",
        "negative",
        raw_chunk(TOPO, tensor_file({"a": U8 | {"shape": [-1]}}, b"x")),
        "not valid safetensors",
    ),
    (
        "S1",
        "many axes",
        raw_chunk(TOPO, tensor_file({"a": U8 | {"shape": [1] * 70}}, b"x")),
        "not valid safetensors",
    ),
    ("S1", "twice", raw_chunk(TOPO, twice()), "the key 'a' twice"),
    (
        "S2",
        "int64",
        raw_chunk(TOPO, tensor_file({"a": I64}, bytes(8))),
        "'a' is of dtype I64; the format has int8",
    ),
    ("S2", "bfloat16", raw_chunk(TOPO, bfloat16()), "'a' is of dtype BF16"),
    (
        "S3",
        "missing",
        tensors(TOPO, leaf_kinds=None),
        "grid 'density': tensor 'leaf_kinds' is missing",
    ),
    (
        "S3",
        "dtype",
        tensors(TOPO, tile_edges=lambda a: a.astype(np.float32)),
        "'tile_edges' is float32",
    ),
    (
        "S3",
        "regions",
        lattice(tensors(-1, means=lambda a: np.append(a, a))),
        r"'means' is uint8 \(2,\), expected .*1",
    ),
    (
        "S3",
        "rows",
        tensors(TOPO, leaf_kinds=lambda a: a[:-1]),
        r"'leaf_kinds' is uint8 \(2,\), expected .*3",
    ),
    (
        "S3",
        "exact",
        bare(tensors(EXAC, exact_masks=lambda a: a[:-1])),
        r"'exact_masks' is uint8 \(3, 64\), .*4, 64",
    ),
    (
        "S3",
        "inactive rows",
        tensors(INAC, inactive_values=lambda a: a[:-1]),
        "'inactive_values' is float32",
    ),
    (
        "S3",
        "tile components",
        tensors(VECTOR_INAC, tile_values=lambda a: a[:, :1]),
        "'tile_values' is float32",
    ),
    ("S3", "samples", tensors(SAMP, outputs=lambda a: a[:, :1]), "'outputs' is float32"),
    (
        "S3",
        "blocks",
        bare(tensors(TOPO, block_masks=lambda a: a[:, 1:])),
        r"'block_masks' is uint8 \(1, 511\)",
    ),
    (
        "S3",
        "cells",
        bare(tensors(TOPO, tile_active=lambda a: a[:1])),
        r"'tile_active' is uint8 \(1,\), expected .*2",
    ),
    (
        "S3",
        "plain tiles",
        bare(tensors(TOPO, tile_edges=lambda a: np.append(a, a))),
        r"'tile_edges' is int32 \(2,\), .*1",
    ),
    (
        "S3",
        "coded rows",
        bare(tensors(BARE_INAC, inactive_values=lambda a: a[1:])),
        "'inactive_values' is float32",
    ),
    (
        "S3",
        "frequent",
        frequent(tensors(FREQ, values=lambda a: np.append(a, a, axis=1))),
        r"'values' is float32 \(2, 2\), .*1",
    ),
    ("S3", "kinds", frequent(tensors(FREQ, kinds=lambda a: a[:, 1:])), "'kinds' is uint8"),
    (
        "S3",
        "mask lengths",
        frequent(tensors(FREQ, mask_lengths=lambda a: a[1:])),
        r"'mask_lengths' is int32 \(1, 1\), expected .*2",
    ),
    (
        "S3",
        "offsets",
        frequent(tensors(-1, offsets=lambda a: a[1:])),
        r"'offsets' is float16 \(16,\), expected .*17",
    ),
    ("S3", "no palette", palette(tensors(-1, palette=None)), "'palette' is missing"),
    (
        "S3",
        "low bits",
        palette(tensors(-1, low_bits=lambda a: a[:, 1:])),
        r"'low_bits' is uint8 \(1, 511\), expected .*512",
    ),
    ("S4", "multiple", tensors(TOPO, block_origins=at((0, 0), -120)), "node origins.*multiple"),
    ("S4", "range", tensors(TOPO, block_origins=at((1, 0), 1 << 30)), "node origins.*beyond"),
    (
        "S4",
        "least int",
        tensors(TOPO, block_origins=at((0, 0), -(1 << 31))),
        "node origins.*beyond",
    ),
    ("S4", "order", tensors(TOPO, block_origins=lambda a: a[::-1].copy()), "ascending"),
    ("S4", "twice", tensors(TOPO, block_origins=at(1, [-128, -128, 0])), "ascending"),
    (
        "S4",
        "cells",
        bare(tensors(TOPO, block_origins=at((0, 2), 1 << 20))),
        "nodes of leaves.*beyond",
    ),
    ("S5", "edge", tensors(TOPO, tile_edges=at(0, 16)), "tile_edges"),
    ("S5", "active", tensors(TOPO, tile_active=at(0, 2)), "tile_active"),
    ("S5", "origin", tensors(TOPO, tile_origins=at((1, 2), 8)), "tile_origins.*multiple"),
    ("S5", "range", tensors(TOPO, tile_origins=at((1, 2), 1 << 23)), "tile_origins.*beyond"),
    (
        "S5",
        "over a leaf",
        tensors(TOPO, tile_origins=at(0, [-8, -8, 0])),
        "a tile of 8 voxels stands twice, or over",
    ),
    (
        "S5",
        "over leaves",
        tensors(TOPO, tile_origins=at(1, [-128, -128, 0])),
        "a tile of 128 voxels stands twice, or over",
    ),
    (
        "S5",
        "within another",
        tensors(TOPO, tile_origins=at(0, [-4000, 8, 120])),
        "a tile of 128 voxels stands twice, or over",
    ),
    (
        "S5",
        "twice",
        tensors(TOPO, tile_origins=at(1, [256, 0, 0]), tile_edges=at(1, 8)),
        "a tile of 8 voxels stands twice",
    ),
    (
        "S5",
        "over a leaf's cell",
        bare(tensors(TOPO, tile_origins=at((0, 0), 0))),
        "a tile of 4096 voxels stands twice, or",
    ),
    ("S5", "cell's flag", bare(tensors(TOPO, tile_active=at(1, 2))), "tile_active"),
    (
        "S6",
        "leaf voxels",
        manifest(G + "leaf_voxels", 772),
        "leaf_voxels: the manifest says 772, the chunks hold 773",
    ),
    (
        "S6",
        "active voxels",
        manifest(G + "active_voxels", 5000),
        "active_voxels: the manifest says 5,000",
    ),
    (
        "S7",
        "tiles",
        manifest(G + "inactive_values", None),
        "grid 'density': 2 tiles have no values: inactive_values is null",
    ),
    ("S7", "cells", bare(manifest(G + "inactive_values", None)), "2 tiles have no values"),
    ("S6", "box", manifest(G + "box.1.0", 9), r"box: the manifest says .*, the chunks hold"),
    ("S8", "both", bare(inactive_everywhere), "the masks of inactive voxels mark a voxel"),
    ("S9", "map", manifest(G + "map_type", "NonlinearFrustumMap"), "NonlinearFrustumMap"),
    ("S9", "matrix", manifest(G + "matrix", [0.0] * 16), "not finite and invertible"),
    ("S9", "not affine", manifest(G + "matrix.3", 0.5), "not affine: its last column"),
    (
        "S10",
        "not active",
        bare(tensors(EXAC, exact_masks=bit_outside)),
        "exact_masks mark a voxel that .* is not active",
    ),
    (
        "S10",
        "frequent",
        frequent(
            tensors(
                FREQ_EXAC,
                exact_masks=at((0, 0), 1),
                exact_values=lambda a: np.append(a, a[:1], axis=0),
            )
        ),
        "exact_masks mark a voxel that has a frequent value",
    ),
    ("S11", "kind", bare(tensors(TOPO, leaf_kinds=at(0, 3))), "leaf_kinds hold a value"),
    (
        "S11",
        "lengths",
        bare(tensors(TOPO, mask_lengths=lambda a: a + 1)),
        "coded masks have .* their lengths say",
    ),
    (
        "S11",
        "bytes left",
        bare(tensors(TOPO, leaf_kinds=lambda a: a * 0 + 1)),
        "coded masks are damaged",
    ),
    (
        "S11",
        "bytes of leaves",
        bare(tensors(TOPO, leaf_bytes=lambda a: a[:-1])),
        "coded masks have .* their lengths say",
    ),
    (
        "S11",
        "bytes of tiles",
        bare(tensors(TOPO, tile_bytes=at(0, 255))),
        "coded masks are damaged",
    ),
    (
        "S11",
        "inactive bytes",
        bare(tensors(BARE_INAC, mask_bytes=lambda a: np.append(a, a))),
        "coded masks have .* their lengths say",
    ),
    (
        "S11",
        "no chunk of bits",
        bare(tensors(TOPO, bits=np.int32([99]), mask_checksums=np.int32([0]))),
        r"bits holds \[99\], not the number of a BITS chunk",
    ),
    (
        "S11",
        "two chunks of bits",
        bare(tensors(TOPO, bits=np.int32([0, 0]), mask_checksums=np.int32([0]))),
        "not the number of a BITS chunk",
    ),
    (
        "S12",
        "itself",
        bare(tensors(PREDICTED, predicted_from=at(0, 1))),
        r"predicted_from holds \[1\], not the number",
    ),
    (
        "S12",
        "other type",
        bare(tensors(PREDICTED, predicted_from=at(0, 2))),
        r"predicted_from holds \[2\], not the number",
    ),
    (
        "S12",
        "two",
        bare(tensors(PREDICTED, predicted_from=lambda a: np.append(a, a))),
        "not the number of one",
    ),
    ("S12", "chain", bare(chained), "more than 64 are predicted, one from the other"),
    ("S13", "both", cells(0b11, 0b10), "a cell of a block is a leaf and a tile"),
    ("S13", "neither", cells(0b01, 0b10), "a block holds neither a leaf nor a tile"),
    (
        "S14",
        "no value",
        frequent(tensors(FREQ, values=lambda a: a[:0])),
        "frequent values are 0, with 2 masks",
    ),
    (
        "S14",
        "257 values",
        frequent(tensors(FREQ, values=lambda a: np.resize(a, (257, 1)))),
        "frequent values are 257, with 2",
    ),
    (
        "S14",
        "masks",
        frequent(tensors(FREQ, values=lambda a: np.resize(a, (4, 1)))),
        "frequent values are 4, with 2",
    ),
    (
        "S14",
        "more masks",
        frequent(tensors(FREQ, values=lambda a: a[:1])),
        "frequent values are 1, with 2",
    ),
    (
        "S14",
        "not open",
        frequent(
            tensors(FREQ, kinds=full, mask_lengths=lambda a: a * 0, mask_bytes=lambda a: a[:0])
        ),
        "a frequent value's mask marks a voxel",
    ),
    (
        "S14",
        "kind",
        frequent(tensors(FREQ, kinds=at((0, 0), 3))),
        "kinds of frequent values hold one",
    ),
    (
        "S14",
        "lengths",
        frequent(tensors(FREQ, mask_lengths=lambda a: a + 1)),
        "their lengths say",
    ),
    (
        "S14",
        "negative",
        frequent(tensors(FREQ, mask_lengths=lambda a: np.int32([[-1], [a.sum() + 1]]))),
        "their lengths say",
    ),
    (
        "S14",
        "bytes",
        frequent(tensors(FREQ, mask_bytes=lambda a: a[:-1])),
        "their lengths say",
    ),
    (
        "S14",
        "bytes left",
        frequent(tensors(FREQ, kinds=lambda a: a * 0 + 2)),
        "coded masks are damaged",
    ),
    ("F1", "kind", manifest("field.kind", "wavelet"), "field kind 'wavelet' is not known"),
    (
        "F1",
        "networks",
        lattice(manifest("field.config.networks", "default-0")),
        "begins with the networks 'default-0'",
    ),
    ("F2", "missing", tensors(NETW, layers_2_weight=None), "'layers.2.weight' is missing"),
    ("F2", "shape", tensors(NETW, B=lambda a: a[:-1]), "'B'"),
    ("F2", "no step", tensors(NETW, layers_0_weight_step=None), "'layers.0.weight'"),
    ("F2", "steps", tensors(NETW, layers_0_weight_step=lambda a: a[:-1]), "'layers.0.weight'"),
    ("F2", "no low codes", tensors(NETW, layers_1_weight_codes_low=None), "'layers.1.weight'"),
    ("F2", "one too many", tensors(NETW, extra=np.zeros(3, dtype=np.float32)), "extra"),
    (
        "F2",
        "whole and codes",
        tensors(NETW, **{"layers.0.weight": np.zeros((6, 10), np.float32)}),
        "stored as .* whole",
    ),
    (
        "F2",
        "step of nothing",
        tensors(NETW, **{"B.step": np.zeros(5, np.float32)}),
        "'B' is stored as",
    ),
    (
        "F2",
        "float codes",
        tensors(NETW, layers_0_weight_codes=lambda a: a.astype(np.float32)),
        "is stored as codes float32",
    ),
    (
        "F2",
        "whole integers",
        tensors(NETW, layers_0_bias=lambda a: a.astype(np.int8)),
        "is stored as whole int8",
    ),
    (
        "F2",
        "low codes of another shape",
        tensors(NETW, layers_1_weight_codes_low=lambda a: a[:-1]),
        "different shapes",
    ),
    (
        "F2",
        "not finite",
        tensors(NETW, layers_0_bias=lambda a: a * np.float16(np.nan)),
        "not finite",
    ),
    ("F2", "no network", manifest(F + "neurons", 1 << 20), "field tensor"),
    ("F3", "overflow", overflow, "an output of the field is not finite"),
    (
        "F4",
        "twice",
        lattice(manifest("grids.1.components.0.output", 0)),
        "output 0 of a lattice is that of two components that differ",
    ),
    (
        "F4",
        "never",
        lattice(manifest("grids.1.components.0.output", None)),
        "each output of a lattice must belong to a component",
    ),
    (
        "F5",
        "spread",
        lattice(tensors(-1, spreads=at(0, 23))),
        r"spread is 2\^23: it is at most 2\^22",
    ),
    ("F5", "bits", lattice(tensors(-1, bits=lambda a: a[:-1])), "lengths of segments add up to"),
    (
        "F5",
        "lengths",
        lattice(tensors(-1, lengths=lambda a: -a)),
        "lengths of segments add up to",
    ),
    ("F5", "lanes", lattice(tensors(-1, lanes=lambda a: a * 0 + 6)), r"up to 2\^5 lanes"),
    ("F5", "segments", lattice(tensors(-1, segments=lambda a: a * 0 + 2)), "1 or 4 segments"),
    (
        "F6",
        "damaged",
        lattice(tensors(-1, bits=lambda a: a * 0)),
        r"codes of the region at \(.*\) are damaged",
    ),
    (
        "F6",
        "left over",
        lattice(
            tensors(
                -1,
                bits=lambda a: np.append(a, [0, 0]).astype(np.uint8),
                lengths=lambda a: a + np.eye(*a.shape, dtype=np.int32)[::-1] * 2,
            )
        ),
        r"codes of the region at \(.*\) are damaged",
    ),
    (
        "F6",
        "networks",
        fitted(stored(Differences(np.full(28, 20, np.uint8), bytes([255] * 12)))),
        "codes of a channel's networks are damaged",
    ),
    (
        "F7",
        "networks",
        fitted(stored(Differences(np.full(28, 65, np.uint8), b""))),
        "table beyond 64",
    ),
    (
        "F7",
        "weight",
        fitted(differing("first.weight", 300)),
        "tensor 2.first.weight of a lattice .*127",
    ),
    (
        "F8",
        "offset",
        frequent(tensors(FREQ_CODE, offsets=at(3, np.inf))),
        r"offsets of a channel are .*inf.*: .* finite",
    ),
    (
        "F8",
        "entry twice",
        palette(tensors(-1, palette=at(5, 0))),
        "a palette must rise from entry to entry",
    ),
    (
        "F8",
        "entries",
        palette(tensors(-1, palette=lambda a: np.append(a, a[1:]))),
        "a palette has 3,2.. entries; .* 208,",
    ),
    ("F8", "no entry", palette(tensors(-1, palette=lambda a: a[:0])), "a palette has 0 entries"),
    (
        "F8",
        "below",
        palette(tensors(-1, palette=at(0, -(1 << 31)))),
        r"must rise .*, within \+-2\^30",
    ),
    ("F8", "above", palette(tensors(-1, palette=at(1, -1))), r"must rise .*, within \+-2\^30"),
    (
        "F8",
        "32 bits",
        palette(tensors(-1, low_bits=lambda a: np.resize(a, (32, 512)))),
        "low bits that are 32 and at most 31",
    ),
    (
        "R1",
        "samples",
        tensors(SAMP, outputs=lambda a: a + 1),
        "stored samples differ by .*, more than 0.0001 of the range",
    ),
]


def changed_by(change: Change) -> bytes:
    """The file that a change makes of the good one."""
    file = take_apart(GOOD)
    data = change(file)
    return file.to_bytes() if data is None else data


@pytest.mark.parametrize(
    ("identity", "change", "message"),
    [pytest.param(i, change, message, id=f"{i} {label}") for i, label, change, message in CASES],
)
def test_error_condition(identity: str, change: Change, message: str) -> None:
    data = changed_by(change)
    assert data != GOOD
    with pytest.raises(FormatError, match=rf"(?s){message}.*\[{identity}\]$") as caught:
        inrv.verify(data, device="cpu", decode=True)
    assert caught.value.id == identity


# Identity, limits that the good file exceeds, and what the message says.
LIMITED = [
    ("L1", Limits(exact_bytes=400), "exact values take [\\d,]+ bytes, more than the limit of 400"),
    ("L2", Limits(leaves=2), "exceed the limit of leaves and tiles"),
    ("L3", Limits(weights=148), "149 weights, more than the limit of 148"),
    ("L4", Limits(values=3000), "3,092 values are to be decoded, more than the limit of 3,000"),
    ("L5", Limits(work=1 << 10), "products, more than the limit of 1,024"),
    ("L6", Limits(chunk_bytes=1 << 60), "unpacks to [\\d,]+ bytes, more than there is memory for"),
]


@pytest.mark.parametrize(("identity", "limits", "message"), LIMITED)
def test_limits_have_their_conditions(identity: str, limits: Limits, message: str) -> None:
    data = GOOD
    if identity == "L6":
        huge = b"\xe0" + (1 << 50).to_bytes(8, "little") + b"\x01\x00\x00"
        data = changed_by(entry(TOPO, stored=huge, raw=1 << 50))
    with pytest.raises(FormatError, match=rf"{message}.*\[{identity}\]$") as caught:
        inrv.verify(data, "cpu", limits, decode=True)
    assert caught.value.id == identity


def test_files_that_are_missing_or_change_have_their_conditions(tmp_path: Path) -> None:
    path = tmp_path / "open.inrv"
    with pytest.raises(FormatError, match=r"cannot be read.*\[I1\]$"):
        read_container(path)
    path.write_bytes(GOOD)
    container = read_container(path)
    path.write_bytes(GOOD_BARE)
    with pytest.raises(FormatError, match=r"was replaced since it was opened.*\[I2\]$"):
        container.chunk(NETW)
    path.unlink()
    with pytest.raises(FormatError, match=r"can no longer be read.*\[I1\]$"):
        container.chunk(NETW)


def test_every_condition_of_the_specification_has_its_test() -> None:
    tested = [identity for identity, *_ in CASES if identity != "R1"]
    tested += [*(identity for identity, *_ in LIMITED), "S15", "I1", "I2", "R1"]
    tested += [
        *(identity for identity, *_ in DAMAGE),
        "Q6",
        "Q8",
        "Q9",
        "F9",
    ]  # of sequences and motion
    assert sorted(specification.error_ids()) == sorted(set(tested))


def ids_in(source: str) -> set[str]:
    """The ids of conditions among the arguments of all calls in a module."""
    arguments = [
        argument
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
    ]
    texts = {
        found.value
        for argument in arguments
        for found in ast.walk(argument)
        if isinstance(found, ast.Constant) and isinstance(found.value, str)
    }
    return {text for text in texts if re.fullmatch(r"[HTCMQSFLIR][1-9]\d?", text)}


def test_code_and_specification_have_the_same_conditions() -> None:
    modules = (specification.ROOT / "codec" / "inrv").rglob("*.py")
    found = set().union(*(ids_in(path.read_text()) for path in modules))
    for path in (specification.ROOT / "codec" / "core").glob("*.c"):
        rules = re.findall(r"INRV_RULE\('([A-Z])', (\d+)\)", path.read_text())
        found |= {letter + number for letter, number in rules}
    assert found == set(specification.error_ids())


@pytest.mark.parametrize("identity", sorted({i for i, *_ in CASES if i[0] in "HTM"}))
def test_errors_of_the_file_name_it(identity: str, tmp_path: Path) -> None:
    change = next(change for found, _, change, _ in CASES if found == identity)
    path = tmp_path / "broken.inrv"
    path.write_bytes(changed_by(change))
    with pytest.raises(FormatError, match=r"^.*broken\.inrv: "):
        inrv.load(path)
    with pytest.raises(FormatError, match=r"^<bytes>: "):
        inrv.load(path.read_bytes())


def test_rebuilding_changes_nothing() -> None:
    """So that every case above differs from a good file in one place only."""
    assert take_apart(GOOD).to_bytes() == GOOD
    assert take_apart(GOOD_BARE).to_bytes() == GOOD_BARE
    assert inrv.verify(GOOD_BARE, device="cpu").chunks == 7
    file = take_apart(GOOD)
    file.edit_manifest("generator", "other")
    tensors(NETW)(file)
    assert inrv.verify(file.to_bytes(), device="cpu").samples.count == 5


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.inrv", tmp_path):
        with pytest.raises(FormatError, match=re.escape(str(path)) + ".* cannot be read"):
            read_container(path)


def test_chunk_numbers_are_checked() -> None:
    container = read_container(GOOD)
    for number in (-1, 6):
        with pytest.raises(
            FormatError, match=f"<bytes>: there is no chunk {number}; the file holds 6"
        ):
            container.chunk(number)
