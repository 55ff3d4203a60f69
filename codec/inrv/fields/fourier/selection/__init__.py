"""The voxels to train on, and their values."""

from inrv.fields.fourier.selection.masks import joint_box, select_voxels
from inrv.fields.fourier.selection.samples import Samples, gather_samples, join_in_time

__all__ = ["Samples", "gather_samples", "join_in_time", "joint_box", "select_voxels"]
