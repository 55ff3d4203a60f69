"""NanoVDB grids as Warp sees them, on the CPU. Importing it needs the package warp-lang."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp
from numpy.typing import NDArray

wp.config.quiet = True
wp.init()


@wp.kernel
def _look_up(
    volume: wp.uint64, voxels: wp.array(dtype=wp.vec3i), found: wp.array(dtype=wp.float32)
):
    i = wp.tid()
    voxel = voxels[i]
    found[i] = wp.volume_lookup_f(volume, voxel[0], voxel[1], voxel[2])


@wp.kernel
def _look_up_vectors(
    volume: wp.uint64, voxels: wp.array(dtype=wp.vec3i), found: wp.array(dtype=wp.vec3)
):
    i = wp.tid()
    voxel = voxels[i]
    found[i] = wp.volume_lookup_v(volume, voxel[0], voxel[1], voxel[2])


@wp.kernel
def _sample(volume: wp.uint64, points: wp.array(dtype=wp.vec3), found: wp.array(dtype=wp.float32)):
    i = wp.tid()
    found[i] = wp.volume_sample_f(volume, points[i], wp.Volume.LINEAR)


def opened(data: bytes) -> Any:
    """Open the first grid of a .nvdb file."""
    return wp.Volume.load_from_nvdb(data, device="cpu")


def look_up(volume: Any, voxels: NDArray[np.int32], components: int = 1) -> NDArray[np.float32]:
    """Values (n, C) of voxels (n, 3)."""
    kernel, kind = (_look_up, wp.float32) if components == 1 else (_look_up_vectors, wp.vec3)
    return _asked(kernel, volume, wp.array(voxels, dtype=wp.vec3i, device="cpu"), kind).reshape(
        len(voxels), -1
    )


def sample(volume: Any, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trilinear values (n,) at points (n, 3) of index space, computed in float32."""
    return _asked(_sample, volume, wp.array(points, dtype=wp.vec3, device="cpu"), wp.float32)


def _asked(kernel: Any, volume: Any, places: Any, kind: Any) -> NDArray[np.float32]:
    found = wp.zeros(len(places), dtype=kind, device="cpu")
    wp.launch(kernel, len(places), [volume.id, places, found], device="cpu")
    return np.asarray(found.numpy())
