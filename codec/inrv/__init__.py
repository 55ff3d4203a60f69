"""inrv: a compressed volume format and codec. OpenVDB grids as small neural networks."""

from inrv.container import Limits
from inrv.decoding.volume import VerifyReport, Volume, VolumeGrid, load, verify
from inrv.encoding.api import encode, encode_array, encode_bytes
from inrv.encoding.report import EncodeReport, GridReport, PassthroughReport
from inrv.errors import (
    FormatError,
    InrvError,
    MissingGridError,
    NonFiniteError,
    OptionError,
    OutputError,
    OutputExistsError,
    SelectionError,
    UnsupportedGridError,
    VdbError,
)
from inrv.fields.fourier.training import Checkpoint, Progress
from inrv.grids import Box, Grid, MetaValue, PassthroughGrid, SparseVolume, Topology, Transform, sparse_grid
from inrv.options import EncodeOptions

__all__ = [
    "Box",
    "Checkpoint",
    "EncodeOptions",
    "EncodeReport",
    "FormatError",
    "Grid",
    "GridReport",
    "InrvError",
    "Limits",
    "MetaValue",
    "MissingGridError",
    "NonFiniteError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PassthroughGrid",
    "PassthroughReport",
    "Progress",
    "SelectionError",
    "SparseVolume",
    "Topology",
    "Transform",
    "UnsupportedGridError",
    "VdbError",
    "VerifyReport",
    "Volume",
    "VolumeGrid",
    "encode",
    "encode_array",
    "encode_bytes",
    "load",
    "sparse_grid",
    "verify",
]
