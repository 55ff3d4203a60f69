"""The voxel masks of leaves, entropy-coded: whole wavefronts of voxels at a time, in integers.

Arrays in, words out; knows nothing of grids or files. spec/masks.md states all of it.
"""

from inrv.entropy.masks.coding import decode_masks, encode_masks
from inrv.entropy.masks.kinds import EMPTY, KINDS, MIXED, kinds_of

__all__ = ["EMPTY", "KINDS", "MIXED", "decode_masks", "encode_masks", "kinds_of"]
