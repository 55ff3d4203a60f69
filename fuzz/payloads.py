"""Hostile payloads: tensors, their safetensors header, plain bytes, and zstd frames around them."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from fuzz.trees import HostileTree
from testing.rebuild import FRAME_MAGIC, Part, compressed

Arrays = dict[str, NDArray[Any]]
DTYPES = {
    "I8": "i1",
    "U8": "u1",
    "I32": "<i4",
    "F16": "<f2",
    "F32": "<f4",
    "I64": "<i8",
    "F64": "<f8",
}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
INTEGERS = (
    0, 1, -1, 2, 3, 7, 8, 16, 64, 127, 128, -128, 255, 256, 4095, 4096, -4096, 1 << 22,
    (1 << 23) - 4096, 4096 - (1 << 23), 1 << 23, (1 << 31) - 1, -(1 << 31), -(1 << 31) + 128,
    8388480, -8388608,
)  # fmt: skip
FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    1e30,
    -1e30,
    3.4e38,
    -3.4e38,
    float("nan"),
    float("inf"),
    float("-inf"),
    65504.0,
)


def parse_tensors(data: bytes) -> Arrays | None:
    """The tensors of a safetensors file, None where it is none."""
    try:
        (size,) = struct.unpack_from("<Q", data)
        header, start = json.loads(data[8 : 8 + size]), 8 + size
        return {
            name: _array(about, data[start:])
            for name, about in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, struct.error, AttributeError, RecursionError):
        return None


def _array(about: dict[str, Any], data: bytes) -> NDArray[Any]:
    begin, end = about["data_offsets"]
    return (
        np.frombuffer(data[begin:end], dtype=DTYPES[about["dtype"]]).reshape(about["shape"]).copy()
    )


def build_tensors(arrays: Arrays, random: Random | None = None) -> bytes:
    """A safetensors file; with `random`, its header is changed in a place or two."""
    header, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        about = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        header[name] = about
        data += raw
    if random is None:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    tree = HostileTree(header)
    for _ in range(random.choice((1, 1, 2))):
        tree.change(random)
    text = tree.to_bytes(random)
    length = random.choice(
        (len(text),) * 12 + (0, len(text) - 1, len(text) + 1, 1 << 31, (1 << 64) - 1)
    )
    return struct.pack("<Q", max(length, 0)) + text + data


def change_arrays(arrays: Arrays, random: Random) -> None:
    """One change of one tensor."""
    if not arrays:
        arrays["a"] = np.zeros(random.choice((0, 1, 3)), np.uint8)
        return
    name = random.choice(list(arrays))
    array = arrays[name]
    match random.randrange(12):
        case 0 | 1 | 2 | 3 | 4 if array.size:
            _change_values(array, random)
        case 5 if array.ndim and len(array):
            at = random.randrange(len(array))
            arrays[name] = (
                np.delete(array, at, 0)
                if random.random() < 0.5
                else np.insert(array, at, array[at], 0)
            )
        case 6 if array.ndim and len(array) > 1:
            arrays[name] = array[::-1].copy() if random.random() < 0.5 else np.roll(array, 1, 0)
        case 7:
            arrays[name] = array.reshape(
                random.choice(((-1,), (1, *array.shape), (*array.shape, 1)))
            )
        case 8:
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(DTYPES[random.choice(list(DTYPES))])
        case 9:
            del arrays[name]
        case 10:
            other = random.choice(list(arrays))
            arrays[name], arrays[other] = arrays[other], array
        case _:
            arrays[
                random.choice(
                    (
                        name + ".codes",
                        name + ".step",
                        name.rpartition(".")[0],
                        "B",
                        "",
                        "__metadata__2",
                    )
                )
            ] = array


def _change_values(array: NDArray[Any], random: Random) -> None:
    flat = array.reshape(-1)
    values = FLOATS if array.dtype.kind == "f" else INTEGERS
    with np.errstate(all="ignore"):
        value = np.array(random.choice(values)).astype(array.dtype)
        if random.random() < 0.1:
            flat[:] = value
            return
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            at = random.randrange(flat.size)
            if random.random() < 0.5:
                flat[at] = value
            else:
                flat.view(np.uint8)[random.randrange(flat.nbytes)] ^= 1 << random.randrange(8)


def change_bytes(data: bytes, random: Random) -> bytes:
    """Bytes changed, removed, doubled, inserted or cut off, in one to four places."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not changed:
            changed += b"\0" * random.choice((1, 8, 48))
        at, other = random.randrange(len(changed)), random.randrange(len(changed))
        length = random.choice((1, 2, 4, 8, 40))
        match random.randrange(8):
            case 0 | 1:
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                changed[at] = random.randrange(256)
            case 3:
                changed[at : at + 4] = random.choice(
                    (b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\1\0\0\0")
                )
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[other : other + length]
            case 6:
                changed[at : at + length] = changed[other : other + length]
            case _:
                if random.random() < 0.3:
                    del changed[at:]
    return bytes(changed)


def store(part: Part, data: bytes, random: Random) -> None:
    """Make `data` the part's payload, mostly as a writer would store it."""
    part.stored, part.raw, part.compression = data, len(data), 0
    if random.random() < 0.3:
        stored = compressed(data)
        if len(stored) < len(data):
            part.stored, part.compression = stored, 1


BOMB = compressed(bytes(1 << 20))
SIZES = (1 << 20, 1 << 19, 1 << 21, 1 << 30, 1 << 40)  # that a bomb is said to have


def change_frame(part: Part, random: Random) -> None:
    """Store a zstd frame that is not what it seems."""
    part.compression = 1
    match random.randrange(9):
        case 0:
            part.stored += random.choice((b"\0", BOMB[:20], part.stored))
        case 1:
            part.stored = part.stored[: random.randrange(len(part.stored) + 1)]
        case 2:
            part.stored, part.raw = BOMB, random.choice(SIZES)
        case 3:
            rest = random.choice((b"", b"\1\0\0", part.stored))
            part.stored = b"\xe0" + struct.pack("<Q", part.raw) + rest
        case 4:
            part.stored = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip" + part.stored
        case 5:
            part.stored = compressed(bytes(part.raw % 100_000), write_content_size=False)
        case 6:
            part.stored = compressed(bytes(part.raw % 100_000), write_checksum=True)
        case 7:  # with its magic number, or without the dictionary
            plain = zstandard.ZstdCompressor(level=1).compress(bytes(part.raw % 100_000))
            part.stored = random.choice((FRAME_MAGIC + part.stored, plain, plain[4:]))
        case _:
            part.stored = change_bytes(part.stored, random)
