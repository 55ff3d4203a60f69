"""The voxels to train on, and their values."""

from inrv.fields.fourier.selection.masks import joint_box, select_voxels
from inrv.fields.fourier.selection.samples import Samples, gather_samples

__all__ = ["Samples", "gather_samples", "joint_box", "select_voxels"]
