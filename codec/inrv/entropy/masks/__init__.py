"""The voxel masks of leaves, entropy-coded: integers and one range coder, whole wavefronts of
voxels at a time.

Arrays of NumPy in, bytes out; knows nothing of torch, grids or files. See spec/masks.md.
"""

from inrv.entropy.masks.coding import decode_masks, encode_masks
from inrv.entropy.masks.kinds import EMPTY, KINDS, MIXED, kinds_of

__all__ = ["EMPTY", "KINDS", "MIXED", "decode_masks", "encode_masks", "kinds_of"]
