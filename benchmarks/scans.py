"""Bytes of scans in whole numbers: `python -m benchmarks.scans [FILE.nii.gz ...]`.

The numbers are those of the file, before its slope and intercept. Without loss: the file as it is,
gzip -9 of the plain numbers, JPEG XL (effort 7) and JPEG 2000 slice by slice along the best of the
three axes, and inrv with a bound of 0.5, which must give every number back through a .nii file that
nibabel reads. With a bound of 1, 2 and 4: SZ3 (hdf5plugin), over its best of the numbers as float32
and as int32, and inrv, whose largest error is measured. Without files: the corpus's head and the
echo planar images that come with nibabel, of which the first moment is taken.
"""

from __future__ import annotations

import argparse
import gzip
import io
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import imagecodecs
import nibabel
import numpy as np
from numpy.typing import NDArray

import inrv
from benchmarks.report import CORPUS, describe, environment, save, table
from inrv import files

BOUNDS = (1, 2, 4)
EFFORTS = ("instant", "default")


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.nii.gz")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    rows = [row for path in arguments.files or default_files() for row in measure(path)]
    text = f"{describe(run)}\n\n{table(['scan', 'bound', 'codec', 'bytes', 'seconds'], rows)}"
    save("scans", text, {"run": run, "rows": rows})


def default_files() -> list[Path]:
    """The scans of the page on formats, as far as they are there."""
    echo_planar = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
    return [path for path in (CORPUS / "scans" / "ct_head.nii.gz", echo_planar) if path.exists()]


def measure(path: Path) -> list[list[str]]:
    """The rows of a scan."""
    image: Any = nibabel.load(path)
    numbers = np.asanyarray(image.dataobj.get_unscaled())
    while numbers.ndim > 3:
        numbers = numbers[..., 0]
    numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    name, rows = files.read(path).grids[0].name, list[list[str]]()

    def add(bound: object, codec: str, size: int, seconds: float | None) -> None:
        took = "" if seconds is None else f"{seconds:.1f}"
        rows.append([name, str(bound), codec, f"{size:,}", took])
        print(*rows[-1], flush=True)

    add(0, "the numbers", numbers.nbytes, None)
    size, seconds = timed(lambda: gzip.compress(numbers.tobytes(order="F"), 9))
    add(0, "gzip -9", size, seconds)
    unsigned = unsigned_of(numbers)
    for codec, encode in (("JPEG XL", jpeg_xl), ("JPEG 2000", jpeg_2000)):
        best = min(
            timed(lambda axis=axis, encode=encode: encode(np.moveaxis(unsigned, axis, 0)))
            for axis in range(3)
        )
        add(0, codec, *best)
    for bound in (0.5, *BOUNDS):
        for kind in () if bound == 0.5 else ("f4", "i4"):
            add(
                bound,
                f"SZ3, {kind}",
                *timed(lambda kind=kind, bound=bound: sz3(numbers, kind, bound)),
            )
        for effort in EFFORTS:
            options = inrv.EncodeOptions(effort=effort, device="cpu", max_error=bound)
            plain = nibabel.Nifti1Image(numbers, image.affine).to_bytes()
            started = time.perf_counter()
            data, _ = inrv.encode_bytes(plain, options)
            add(bound, f"inrv, {effort}", len(data), time.perf_counter() - started)
            stream = io.BytesIO()
            files.write(stream, inrv.load(data, "cpu").to_sparse(), ".nii")
            back: Any = nibabel.Nifti1Image.from_bytes(stream.getvalue())
            found = np.asanyarray(back.dataobj)
            error = int(np.abs(found.astype(np.int64) - numbers).max())
            assert found.dtype == numbers.dtype and error <= int(bound), (found.dtype, error)
    return rows


def timed(work: Any) -> tuple[int, float]:
    """The bytes that some work gives, and its seconds."""
    started = time.perf_counter()
    size = len(work())
    return size, time.perf_counter() - started


def unsigned_of(numbers: NDArray[Any]) -> NDArray[Any]:
    """Numbers from 0 on, of the narrowest type that JPEG takes."""
    moved = numbers.astype(np.int64) - int(numbers.min())
    return moved.astype(np.uint8 if moved.max() < 256 else np.uint16)


def jpeg_xl(slices: NDArray[Any]) -> bytes:
    """Every slice of an array by itself, without loss."""
    return b"".join(
        bytes(imagecodecs.jpegxl_encode(np.ascontiguousarray(own), lossless=True, effort=7))
        for own in slices
    )


def jpeg_2000(slices: NDArray[Any]) -> bytes:
    """The same by JPEG 2000, reversible."""
    return b"".join(
        bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(own), level=0, reversible=True))
        for own in slices
    )


def sz3(numbers: NDArray[Any], kind: str, bound: float) -> bytes:
    """What SZ3 makes of numbers of a type with an absolute bound."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset(
            "d", data=numbers.astype(kind), chunks=numbers.shape, **hdf5plugin.SZ3(absolute=bound)
        )
        return bytes(data.id.get_storage_size())


if __name__ == "__main__":
    main()
