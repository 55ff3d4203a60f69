"""Whether an .inrv file is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inrv.container import Limits, unpack_tensors
from inrv.container.layout import BITS, CHUNK_FLAGS, PASSTHROUGH
from inrv.decoding.grid import named_errors
from inrv.decoding.volume import load
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
    volume = load(source, device, limits)
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
    voxels = volume.to_sparse().active_voxel_count if decode else 0
    return VerifyReport(len(container.entries), voxels, samples)
