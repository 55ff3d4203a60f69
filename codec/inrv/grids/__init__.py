"""Sparse grids in memory: voxels, topology, transform, metadata."""

from inrv.grids.box import Box
from inrv.grids.frequent import FrequentValues, frequent_values
from inrv.grids.from_dense import sparse_grid
from inrv.grids.grid import COMPONENTS, Grid, LeafValues, SparseVolume
from inrv.grids.metadata import Metadata, MetaValue
from inrv.grids.nonfinite import without_nonfinite
from inrv.grids.normalisation import Normalisation, denormalise, in_double
from inrv.grids.passthrough import PassthroughGrid
from inrv.grids.rounding import BeyondFloat32, Rounding, round_numbers
from inrv.grids.topology import Topology
from inrv.grids.transform import LINEAR_MAPS, Transform

__all__ = [
    "COMPONENTS",
    "LINEAR_MAPS",
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
    "denormalise",
    "frequent_values",
    "in_double",
    "round_numbers",
    "sparse_grid",
    "without_nonfinite",
]
