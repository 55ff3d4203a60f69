"""The field `lattice`: an integer code for every active voxel, predicted from those before it.

Small integer networks predict a value from the decoded values around it, coarse to fine; its code
is how many steps it lies from there. Then the restoration filter reads the decoded neighbourhood
and moves each value a little. All arithmetic that decoding needs is in whole numbers, so every
machine decodes the same bits.
"""

from inrv.fields.lattice.codec import RegionCodes, decode_regions
from inrv.fields.lattice.context import ChannelParameters
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.model import (
    DEFAULT_NAME,
    Model,
    default_model,
    pack_differences,
    unpack_differences,
)
from inrv.fields.lattice.offsets import Offsets
from inrv.fields.lattice.order import REGION_EDGE
from inrv.fields.lattice.palette import Palette
from inrv.fields.lattice.regions import corners_of, region_corners
from inrv.fields.lattice.search import (
    EFFORTS,
    ChannelEncoder,
    ChannelValues,
    Effort,
    EncodedChannel,
    Quality,
)
from inrv.fields.lattice.traversal import Setting

__all__ = [
    "DEFAULT_NAME",
    "EFFORTS",
    "REGION_EDGE",
    "ChannelEncoder",
    "ChannelParameters",
    "ChannelValues",
    "Effort",
    "EncodedChannel",
    "Exterior",
    "Model",
    "Offsets",
    "Palette",
    "Quality",
    "RegionCodes",
    "Setting",
    "corners_of",
    "decode_regions",
    "default_model",
    "linear_units",
    "pack_differences",
    "region_corners",
    "unpack_differences",
]
