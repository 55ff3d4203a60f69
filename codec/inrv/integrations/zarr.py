"""The codec `inrv.lattice` of zarr 3: a chunk of an array is an .inrv file."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.integrations.chunks import (
    Chunk,
    check_array,
    configuration_of,
    encode_chunk,
    options_of,
)
from inrv.support.extras import needed_for
from inrv.support.inputs import BytesInput, Input

with needed_for("the codec of zarr", "zarr"):
    from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
    from zarr.abc.store import RangeByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import StorePath

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "inrv.lattice"
AHEAD = 1 << 16  # bytes that the first read of a part of a chunk takes


class LatticeCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Codes chunks of three axes or more, the last three those of space, as .inrv files.

    Voxels that have the array's fill value come back exactly, and cost next to nothing.

    psnr, max_error, lossless, effort: as of `inrv.EncodeOptions`, for each chunk; one of the first
        three is given
    Raises OptionError, a ValueError.
    """

    is_fixed_size = False

    def __init__(
        self,
        *,
        psnr: float | None = None,
        max_error: float | str | None = None,
        lossless: bool = False,
        effort: str = "instant",
    ) -> None:
        asked = {"psnr": psnr, "max_error": max_error, "lossless": lossless, "effort": effort}
        self.options = options_of(asked, NAME)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LatticeCodec:
        """Make the codec of zarr's metadata. Raises OptionError."""
        configuration = data.get("configuration", {})
        if data.get("name") != NAME or not isinstance(configuration, Mapping):
            raise OptionError(f"{NAME}: {data!r} is no configuration of this codec")
        codec = cls.__new__(cls)
        codec.options = options_of(configuration, NAME)
        return codec

    def to_dict(self) -> dict[str, Any]:
        """Give the metadata that zarr stores."""
        return {"name": NAME, "configuration": configuration_of(self.options)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatticeCodec) and self.options == other.options

    def __hash__(self) -> int:
        return hash(self.options)

    def __repr__(self) -> str:
        asked = ", ".join(
            f"{name}={value!r}" for name, value in configuration_of(self.options).items()
        )
        return f"LatticeCodec({asked})"

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise OptionError where the array cannot be coded, before anything is written."""
        chunks = getattr(chunk_grid, "chunk_shape", shape)
        check_array(tuple(chunks), dtype.to_native_dtype(), NAME)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise NotImplementedError: the size depends on the values."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        values = chunk_data.as_numpy_array()
        data = await asyncio.to_thread(
            encode_chunk, values, self.options, chunk_spec.fill_value, NAME
        )
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data = BytesInput("a chunk", chunk_data.to_bytes())
        return _buffer(await asyncio.to_thread(_decoded, data, chunk_spec, None), chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        """Decode what of a chunk is selected; None where the store has no such chunk."""
        box, within = _box_of(selection, chunk_spec.shape)
        if box is None:
            nothing = np.broadcast_to(
                np.zeros((), chunk_spec.dtype.to_native_dtype()), chunk_spec.shape
            )
            return _buffer(np.array(nothing[selection]), chunk_spec)
        part = any(len(own) < size for own, size in zip(box, chunk_spec.shape, strict=True))
        source = await _input_of(byte_getter, part)
        if source is None:
            return None
        values = await asyncio.to_thread(_decoded, source, chunk_spec, box)
        return _buffer(np.array(values[within], order="C"), chunk_spec)


def _decoded(source: Input, chunk_spec: ArraySpec, box: tuple[range, ...] | None) -> NDArray[Any]:
    """Decode a box of a chunk as zarr's metadata says that it is."""
    chunk = Chunk.open(source, NAME)
    if chunk.shape != tuple(chunk_spec.shape):
        raise OptionError(
            f"{NAME}: {source.name} has shape {chunk.shape}, and the array has chunks of shape "
            f"{tuple(chunk_spec.shape)}: it is a chunk of another array"
        )
    dtype = chunk_spec.dtype.to_native_dtype()
    if chunk.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise OptionError(
            f"{NAME}: {source.name} holds {chunk.dtype}, and the array {dtype}: it is a chunk of "
            "another array"
        )
    return chunk.values(box).astype(dtype, copy=False)


def _buffer(values: NDArray[Any], chunk_spec: ArraySpec) -> NDBuffer:
    return chunk_spec.prototype.nd_buffer.from_numpy_array(values)


def _box_of(
    selection: Any, shape: tuple[int, ...]
) -> tuple[tuple[range, ...] | None, tuple[Any, ...]]:
    """Give the smallest box around a selection, and the selection within it.

    selection: as zarr gives it: a number, a slice or an array of numbers for each axis
    The box is None where nothing is selected.
    """
    parts = selection if isinstance(selection, tuple) else (selection,)
    parts = (*parts, *[slice(None)] * (len(shape) - len(parts)))
    box, within = list[range](), list[Any]()
    for part, size in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            places = range(*part.indices(size))
            low, high = (
                (min(places[0], places[-1]), max(places[0], places[-1])) if places else (0, -1)
            )
            stop = places.stop - low
            within.append(slice(places.start - low, None if stop < 0 else stop, places.step))
        else:
            numbers = np.asarray(part)
            numbers = np.where(numbers < 0, numbers + size, numbers)
            low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, -1)
            within.append(numbers - low if numbers.ndim else int(numbers) - low)
        box.append(range(low, high + 1))
    return (tuple(box) if all(box) else None), tuple(within)


async def _input_of(byte_getter: ByteGetter, part: bool) -> Input | None:
    """Give a chunk as an input; None where the store has none.

    part: whether not all of it will be read, so that ranges are requested of a store
    """
    if not part or not isinstance(byte_getter, StorePath):  # a shard has its chunks in memory
        whole = await byte_getter.get(default_buffer_prototype())
        return None if whole is None else BytesInput("a chunk", whole.to_bytes())
    head = await byte_getter.get(default_buffer_prototype(), RangeByteRequest(0, AHEAD))
    if head is None:
        return None
    if len(head) < AHEAD:
        return BytesInput(str(byte_getter), head.to_bytes())
    size = await byte_getter.store.getsize(byte_getter.path)
    return StoredChunk(byte_getter, size, head.to_bytes(), asyncio.get_running_loop())


class StoredChunk(Input):
    """A chunk in a store of zarr, of which ranges are read.

    Its reads run in the event loop of zarr, while the decoder waits for them in another thread.

    place: where it is in the store
    head: its first AHEAD bytes
    loop: the event loop
    """

    distant = True

    def __init__(
        self, place: StorePath, size: int, head: bytes, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.name = str(place)
        self.place, self._size, self.head, self.loop = place, size, head, loop

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._size

    def open(self) -> BinaryIO:
        """Open it as a binary file."""
        return io.BytesIO(self.part(0, self.size))

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges, which are requested side by side."""
        return asyncio.run_coroutine_threadsafe(self._requested(ranges), self.loop).result()

    async def _requested(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return list(await asyncio.gather(*(self._part(*each) for each in ranges)))

    async def _part(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if end <= len(self.head):
            return self.head[offset:end]
        asked = RangeByteRequest(offset, end)
        found = await self.place.get(default_buffer_prototype(), asked)
        if found is None:
            raise FileNotFoundError(f"{self.name} is gone")
        return found.to_bytes()
