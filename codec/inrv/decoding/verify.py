"""Whether an .inrv file is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inrv.container import Limits, SequenceFile, unpack_tensors
from inrv.container.layout import BITS, CHUNK_FLAGS, PASSTHROUGH
from inrv.decoding.frames import Frames, open_frames
from inrv.decoding.grid import named_errors
from inrv.errors import FormatError
from inrv.fields.seam import Samples
from inrv.support.streams import Readable
from inrv.support.undisturbed import undisturbed


@dataclass(frozen=True)
class VerifyReport:
    """What was checked.

    chunks: chunks whose checksums hold and whose tensors can be read
    voxels: active voxels that were decoded
    samples: how well the stored samples of a network are met
    """

    chunks: int
    voxels: int
    samples: Samples


@undisturbed()
def verify(
    source: Readable, device: Any = None, limits: Limits = Limits(), *, decode: bool = False
) -> VerifyReport:
    """Check header, manifest, every checksum, every chunk and stored samples of an .inrv file.

    Raises FormatError where anything disagrees or exceeds `limits`.

    device: where `decode` computes a network
    decode: decode every voxel of every grid too: that finds codes and masks that make no sense,
        though their checksums hold
    """
    frames = open_frames(source, device, limits)
    if isinstance(frames.source, SequenceFile) and frames.source.damaged:
        raise FormatError(
            "Q2",
            f"{frames.name}: a slot of its head, or the index that it names, is damaged: "
            "frames may be missing",
        )
    reports = [_verify(frames, group, decode) for group in frames.groups]
    if not reports:
        return VerifyReport(0, 0, Samples())
    return VerifyReport(
        sum(report.chunks for report in reports),
        sum(report.voxels for report in reports),
        max((report.samples for report in reports), key=lambda samples: samples.largest_difference),
    )


def _verify(frames: Frames, numbers: Sequence[float | int], decode: bool) -> VerifyReport:
    """Check the container that holds the frames of these numbers. Raises FormatError."""
    volume = frames[numbers[0]]
    container = volume.container
    with named_errors(container):
        for number, entry in enumerate(container.entries):
            if entry.type == BITS:
                container.check_bits(number)
                continue
            payload = container.chunk(number)
            if entry.type in CHUNK_FLAGS and entry.type != PASSTHROUGH:
                unpack_tensors(payload)
        samples = Samples() if volume.codec is None else volume.codec.verify(container)
        if not samples.largest_difference <= samples.tolerance:  # NaN too
            raise FormatError(
                "R1",
                f"stored samples differ by {samples.largest_difference:.3g}, more than "
                f"{samples.tolerance:g} of the range",
            )
    voxels = sum(frames[n].to_sparse().active_voxel_count for n in numbers) if decode else 0
    return VerifyReport(len(container.entries), voxels, samples)
