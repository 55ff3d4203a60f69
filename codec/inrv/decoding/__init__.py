"""Batched inference on voxels, boxes and points."""

from inrv.decoding.points import nearest, trilinear
from inrv.decoding.voxels import decode_active, evaluate

__all__ = ["decode_active", "evaluate", "nearest", "trilinear"]
