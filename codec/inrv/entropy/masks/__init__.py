"""The voxel masks of leaves, entropy-coded region by region by the core.

Arrays in, bytes out; knows nothing of grids or files. spec/masks.md states all of it.
"""

from inrv.entropy.masks.coding import decode_masks, encode_masks, regions_of
from inrv.entropy.masks.kinds import EMPTY, KINDS, MIXED, kinds_of

__all__ = ["EMPTY", "KINDS", "MIXED", "decode_masks", "encode_masks", "kinds_of", "regions_of"]
