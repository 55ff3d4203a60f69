"""One file, decoded by each of its readers."""

from __future__ import annotations

import numpy as np

from inrv.decoding.frames import open_frames
from spec.reference import read
from testing.core_files import CoreDecoder, CoreFile


def check_same_bits(data: bytes) -> None:
    """Check that library, core and reference reader decode the same values."""
    frames, theirs = open_frames(data, "cpu"), read.decode(data)
    file = CoreFile(data)
    for volume in frames.values():
        for own, number in zip(volume.grids, volume.manifest.grids_of(volume.place), strict=True):
            values = own.values().reshape(theirs[number].values.shape)
            assert values.tobytes() == theirs[number].values.tobytes()
            decoder = CoreDecoder(file, number)
            assert file.grids[number].frame == volume.place
            found = [decoder.region(corner).values for corner in decoder.corners]
            assert np.concatenate([own.reshape(-1) for own in found]).tobytes() == values.tobytes()
