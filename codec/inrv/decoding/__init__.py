"""Batched inference on voxels, boxes and points."""

from inrv.decoding.outputs import FieldOutputs, LatticeOutputs, NoOutputs, Outputs
from inrv.decoding.points import nearest, trilinear
from inrv.decoding.voxels import decode_active, evaluate

__all__ = ["FieldOutputs", "LatticeOutputs", "NoOutputs", "Outputs", "decode_active", "evaluate", "nearest", "trilinear"]
