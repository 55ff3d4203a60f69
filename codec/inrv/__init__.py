"""inrv: a compressed volume format and codec. VDB grids, coded by small neural networks.

    viewer/     what `inrv view` and notebooks show
    scenes/     what other programs show of a file
    encoding/   grids -> file: what is asked, prepared, searched for, reported
    decoding/   file -> values: an open volume and its grids
    fields/     how values are coded: the seam, and a room each for lattice and fourier
    storage/    grids <-> chunks
    container/  the bytes of an .inrv file
    entropy/    the masks of leaves
    files/      other people's files
    grids/      sparse grids in memory
    metrics/    how alike two volumes are
    core/       the C core, called from Python
    support/    what every room may use

Imports run one way, downwards; docs/map.md has a line on every file. The public names below are
loaded when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inrv.container import Limits
    from inrv.decoding.between import GridBetween, VolumeBetween
    from inrv.decoding.frames import Frames, load
    from inrv.decoding.grid import VolumeGrid
    from inrv.decoding.verify import VerifyReport, verify
    from inrv.decoding.volume import Volume
    from inrv.encoding.api import encode, encode_array, encode_bytes
    from inrv.encoding.background import BackgroundWriter
    from inrv.encoding.report import EncodeReport, GridReport, PassthroughReport
    from inrv.encoding.sequence import SequenceWriter
    from inrv.errors import (
        FormatError,
        ImageFileError,
        InrvError,
        MissingFrameError,
        MissingGridError,
        MissingPackageError,
        NonFiniteError,
        OptionError,
        OutputError,
        OutputExistsError,
        SelectionError,
        UnsupportedGridError,
        VdbError,
    )
    from inrv.fields.fourier.training import Checkpoint
    from inrv.fields.seam import Progress
    from inrv.grids import (
        Box,
        Grid,
        MetaValue,
        PassthroughGrid,
        SparseVolume,
        Topology,
        Transform,
        sparse_grid,
    )
    from inrv.options import EncodeOptions
    from inrv.viewer.widget import view

# The module that each public name comes from.
_HOMES = {
    "inrv.container": ("Limits",),
    "inrv.decoding.between": ("GridBetween", "VolumeBetween"),
    "inrv.decoding.grid": ("VolumeGrid",),
    "inrv.decoding.verify": ("VerifyReport", "verify"),
    "inrv.decoding.frames": ("Frames", "load"),
    "inrv.decoding.volume": ("Volume",),
    "inrv.encoding.api": ("encode", "encode_array", "encode_bytes"),
    "inrv.encoding.background": ("BackgroundWriter",),
    "inrv.encoding.sequence": ("SequenceWriter",),
    "inrv.encoding.report": ("EncodeReport", "GridReport", "PassthroughReport"),
    "inrv.errors": (
        "FormatError",
        "ImageFileError",
        "InrvError",
        "MissingFrameError",
        "MissingGridError",
        "MissingPackageError",
        "NonFiniteError",
        "OptionError",
        "OutputError",
        "OutputExistsError",
        "SelectionError",
        "UnsupportedGridError",
        "VdbError",
    ),
    "inrv.fields.fourier.training": ("Checkpoint",),
    "inrv.fields.seam": ("Progress",),
    "inrv.grids": (
        "Box",
        "Grid",
        "MetaValue",
        "PassthroughGrid",
        "SparseVolume",
        "Topology",
        "Transform",
        "sparse_grid",
    ),
    "inrv.options": ("EncodeOptions",),
    "inrv.viewer.widget": ("view",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BackgroundWriter",
    "Box",
    "Checkpoint",
    "EncodeOptions",
    "EncodeReport",
    "FormatError",
    "Frames",
    "Grid",
    "GridBetween",
    "GridReport",
    "ImageFileError",
    "InrvError",
    "Limits",
    "MetaValue",
    "MissingFrameError",
    "MissingGridError",
    "MissingPackageError",
    "NonFiniteError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PassthroughGrid",
    "PassthroughReport",
    "Progress",
    "SelectionError",
    "SequenceWriter",
    "SparseVolume",
    "Topology",
    "Transform",
    "UnsupportedGridError",
    "VdbError",
    "VerifyReport",
    "Volume",
    "VolumeBetween",
    "VolumeGrid",
    "encode",
    "encode_array",
    "encode_bytes",
    "load",
    "sparse_grid",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'inrv' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if "IPython" in sys.modules:
    import_module("inrv.viewer.notebook").show_volumes()
