"""Which voxels are trained on, and with what values."""

from inrv.selection.masks import joint_box, select_voxels
from inrv.selection.samples import Samples, gather_samples

__all__ = ["Samples", "gather_samples", "joint_box", "select_voxels"]
