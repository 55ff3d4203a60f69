"""Sparse grids in memory: voxels, topology, transform, metadata. NumPy arrays, without torch."""

from inrv.grids.blocks import (
    COORDINATE_LIMIT,
    LEAF_EDGE,
    LEAF_VOXELS,
    MASK_BYTES,
    NODE_EDGE,
    PART_LEAVES,
    TILE_EDGES,
    block_coordinates,
    byte_counts,
    check_range,
    every_component,
    leaf_keys,
    leaf_offsets,
    mask_places,
    masks_at_multiples,
    offset_coordinates,
    pack_masks,
    ragged,
    unpack_masks,
)
from inrv.grids.box import Box
from inrv.grids.frequent import FrequentValues, frequent_values
from inrv.grids.from_dense import sparse_grid
from inrv.grids.grid import COMPONENTS, Grid, LeafValues, SparseVolume
from inrv.grids.metadata import Metadata, MetaValue
from inrv.grids.nonfinite import without_nonfinite
from inrv.grids.normalisation import Normalisation, denormalise, in_double
from inrv.grids.passthrough import PassthroughGrid
from inrv.grids.rounding import BeyondFloat32, Rounding, round_numbers
from inrv.grids.thresholds import ABOVE, AWAY, WITHIN, scores, thresholded
from inrv.grids.topology import Topology
from inrv.grids.transform import LINEAR_MAPS, Transform

__all__ = [
    "ABOVE",
    "AWAY",
    "COMPONENTS",
    "COORDINATE_LIMIT",
    "LEAF_EDGE",
    "LEAF_VOXELS",
    "LINEAR_MAPS",
    "MASK_BYTES",
    "NODE_EDGE",
    "PART_LEAVES",
    "TILE_EDGES",
    "WITHIN",
    "BeyondFloat32",
    "Box",
    "FrequentValues",
    "Grid",
    "LeafValues",
    "MetaValue",
    "Metadata",
    "Normalisation",
    "PassthroughGrid",
    "Rounding",
    "SparseVolume",
    "Topology",
    "Transform",
    "block_coordinates",
    "byte_counts",
    "check_range",
    "denormalise",
    "every_component",
    "frequent_values",
    "in_double",
    "leaf_keys",
    "leaf_offsets",
    "mask_places",
    "masks_at_multiples",
    "offset_coordinates",
    "pack_masks",
    "ragged",
    "round_numbers",
    "scores",
    "sparse_grid",
    "thresholded",
    "unpack_masks",
    "without_nonfinite",
]
