"""Codecs that are filters of HDF5 (hdf5plugin): SZ3, SPERR and ZFP; and SZ3's algorithms (pysz).

HDF5 stores the box as one chunk; the bytes that count are those of the chunk.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from benchmarks.peers.peer import BOUNDS, Array, Frame, Peer, Sample, Setting

# SPERR reads axes the other way round: without `swap` it is crippled on boxes that are not cubes.
CODECS: dict[str, Callable[[float], Any]] = {
    "SZ3": lambda error: hdf5plugin.SZ3(absolute=error),
    "SPERR": lambda error: hdf5plugin.Sperr(absolute=error, swap=True),
    "ZFP": lambda error: hdf5plugin.Zfp(accuracy=error),
}
PSNRS = tuple(rung / 2 for rung in range(30, 220))  # dB that SPERR is asked for


def compress(array: Array, filters: Any) -> tuple[int, Array, float, float]:
    """Return stored bytes, the decompressed array, seconds to encode and seconds to decode."""
    memory = io.BytesIO()
    started = time.perf_counter()
    with h5py.File(memory, "w") as file:
        file.create_dataset("d", data=array, chunks=array.shape, compression=filters)
    encoded = time.perf_counter()
    with h5py.File(memory, "r") as file:
        data = file["d"]
        return data.id.get_storage_size(), data[:], encoded - started, time.perf_counter() - encoded


def chunk_of(array: Array, filters: Any) -> bytes:
    """Return the chunk that a filter makes of an array.

    Raises RuntimeError where the filter gave up and HDF5 stored the values as they are.
    """
    with h5py.File(io.BytesIO(), "w") as file:
        data = file.create_dataset("d", data=array, chunks=array.shape, compression=filters)
        file.flush()
        skipped, chunk = data.id.read_direct_chunk((0,) * array.ndim)
        if skipped:
            raise RuntimeError("the filter failed, and HDF5 stored the values without it")
        return bytes(chunk)


def array_of(chunk: bytes, shape: tuple[int, ...], filters: Any) -> Array:
    """Return the values of a chunk."""
    with h5py.File(io.BytesIO(), "w") as file:
        data = file.create_dataset(
            "d", shape=shape, dtype=np.float32, chunks=shape, compression=filters
        )
        data.id.write_direct_chunk((0,) * len(shape), chunk)
        return np.asarray(data[:])


class SZ3(Peer):
    """SZ3 as hdf5plugin builds it, and each of its algorithms where pysz is installed."""

    name = "SZ3"
    package = "hdf5plugin"
    old = True

    def __init__(self) -> None:
        try:
            import pysz
        except ImportError:
            self._pysz = None
            self.remark = "pysz is not installed: SZ3 runs with hdf5plugin's algorithm alone"
        else:
            self._pysz = pysz

    def settings(self, frame: Frame) -> list[Setting]:
        """Return the filter, and the four algorithms of pysz."""
        found = [Setting("filter", BOUNDS, bounded=True)]
        if self._pysz is not None:
            kinds = self._pysz.szAlgorithm
            algorithms = {
                "interpolation": kinds.INTERP,
                "interpolation + Lorenzo": kinds.INTERP_LORENZO,
                "Lorenzo + regression": kinds.LORENZO_REG,
                "no prediction": kinds.NOPRED,
            }
            found += [
                Setting(name, BOUNDS, bounded=True, choice=algorithm)
                for name, algorithm in algorithms.items()
            ]
        return found

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code at an absolute error of `parameter` times the range."""
        bound = parameter * sample.frame.span
        if setting.choice is None:
            return chunk_of(sample.dense, CODECS[self.name](bound))
        config = self._pysz.szConfig(sample.dense.shape)
        config.errorBoundMode = self._pysz.szErrorBoundMode.ABS
        config.absErrorBound = bound
        config.cmprAlgo = setting.choice
        return bytes(self._pysz.sz.compress(sample.dense, config)[0])

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode with the build that has coded."""
        if setting.choice is None:
            return array_of(data, frame.box.shape, CODECS[self.name](1.0))
        stored = np.frombuffer(data, np.uint8)
        return np.asarray(self._pysz.sz.decompress(stored, np.float32, frame.box.shape)[0])


class SPERR(Peer):
    """SPERR, driven by a bound on the error of every voxel, or by a PSNR."""

    name = "SPERR"
    package = "hdf5plugin"
    old = True

    def settings(self, frame: Frame) -> list[Setting]:
        """Return both modes."""
        return [Setting("bound", BOUNDS, bounded=True), Setting("PSNR", PSNRS)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code at an absolute error of `parameter` times the range, or at that many dB."""
        if setting.bounded:
            return chunk_of(sample.dense, CODECS[self.name](parameter * sample.frame.span))
        filters = hdf5plugin.Sperr(peak_signal_to_noise_ratio=parameter, swap=True)
        return chunk_of(sample.dense, filters)

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode; the stream says how."""
        return array_of(data, frame.box.shape, CODECS[self.name](1.0))


class ZFP(Peer):
    """ZFP in the mode of a fixed accuracy."""

    name = "ZFP"
    package = "hdf5plugin"
    old = True

    def settings(self, frame: Frame) -> list[Setting]:
        """Return its one mode that bounds the error."""
        return [Setting("accuracy", BOUNDS, bounded=True)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code at an absolute error of `parameter` times the range, which the stream lacks."""
        bound = parameter * sample.frame.span
        return struct.pack("<d", bound) + chunk_of(sample.dense, CODECS[self.name](bound))

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode with the accuracy before the stream."""
        filters = CODECS[self.name](*struct.unpack("<d", data[:8]))
        return array_of(data[8:], frame.box.shape, filters)
