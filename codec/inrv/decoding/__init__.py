"""Batched inference on voxels, boxes and points."""

from inrv.decoding.outputs import CodedChannel, FieldOutputs, LatticeOutputs, NoOutputs, Outputs
from inrv.decoding.points import nearest, trilinear
from inrv.decoding.voxels import decode_active, deviation, evaluate

__all__ = [
    "CodedChannel",
    "FieldOutputs",
    "LatticeOutputs",
    "NoOutputs",
    "Outputs",
    "decode_active",
    "deviation",
    "evaluate",
    "nearest",
    "trilinear",
]
