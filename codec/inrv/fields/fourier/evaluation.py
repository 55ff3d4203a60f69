"""Batched inference: from a field to the values of voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from inrv.fields.fourier.field import Field
from inrv.grids import Topology
from inrv.grids.topology import LEAF_VOXELS, leaf_keys, offset_coordinates
from inrv.support.device import products_in
from inrv.support.parallel import in_threads

BATCH_BYTES = {"cpu": 1 << 24, "cuda": 1 << 32}
BATCHES_A_PART = 16  # of leaves that are listed at a time
LEAF_MASK_BYTES = 1 << 26  # of a batch of leaves, the masks of all topologies together


def batch_voxels(field: Field, device: torch.device) -> int:
    """Voxels a batch, so that its activations take BATCH_BYTES: little beside the volume, and near a CPU's cache."""
    return max(1, BATCH_BYTES.get(device.type, 1 << 29) // (4 * field.floats_per_voxel))


def evaluate(
    field: Field,
    coordinates: Tensor,
    columns: Sequence[int] | None = None,
    batch: int | None = None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Normalised outputs float32 (N, outputs) at index-space coordinates (N, 3), in batches; differentiable.

    With `columns`, (N, len(columns)): only those outputs, in that order. Without gradients matrices are multiplied in
    `precision`, and on a CPU batches are computed side by side.
    """
    size = batch or batch_voxels(field, coordinates.device)
    chosen = slice(None) if columns is None else list(columns)
    if torch.is_grad_enabled():
        return torch.cat([field(part)[:, chosen] for part in coordinates.split(size)])
    device = coordinates.device
    # Into one tensor: small ones between the activations of two batches would keep the heap from being used again.
    result = coordinates.new_empty((len(coordinates), field.outputs if columns is None else len(columns)), dtype=torch.float32)

    def fill(first: int) -> None:
        part = slice(first, first + size)
        with torch.no_grad(), products_in(precision, device):
            result[part] = field(coordinates[part])[:, chosen]

    in_threads(fill, range(0, len(coordinates), size), device)
    return result


def deviation(outputs: Tensor, reference: Tensor) -> float:
    """The largest of |y - r| / (1 + |r|), as the accuracy class of format_spec.md bounds it; NaN where one is not finite."""
    return float(((outputs - reference).abs() / (1 + reference.abs())).max())


def decode_active(
    field: Field,
    topologies: Sequence[Topology],
    columns: Sequence[Sequence[int]],
    precision: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Outputs on the active leaf voxels of several grids: for each, float32 (voxels, len(columns[i])).

    A leaf that several grids share is evaluated once, for all of them, at the voxels active in any.
    """
    results = [
        torch.empty((topology.leaf_voxel_count, len(chosen)), dtype=torch.float32, device=topology.device)
        for topology, chosen in zip(topologies, columns, strict=True)
    ]
    asked = [(t, c, r) for t, c, r in zip(topologies, columns, results, strict=True) if len(c) and t.leaf_count]
    if not asked:
        return results
    different = list({id(topology): topology for topology, _, _ in asked}.values())
    used = sorted({column for _, chosen, _ in asked for column in chosen})
    places = {column: place for place, column in enumerate(used)}
    with torch.no_grad():
        for origins in _leaf_batches(different, BATCHES_A_PART * batch_voxels(field, different[0].device)):
            leaves = {id(t): t.find_leaves(origins) for t in different}
            masks = {id(t): t.masks_of(leaves[id(t)]) for t in different}
            union = torch.stack(list(masks.values())).any(dim=0)
            outputs = evaluate(field, _coordinates(origins, union), used, precision=precision)
            for topology, chosen, result in asked:
                own = outputs[masks[id(topology)][union]][:, [places[column] for column in chosen]]
                _scatter(result, topology, leaves[id(topology)], own)
    return results


def _leaf_batches(topologies: Sequence[Topology], voxels: int) -> Iterator[Tensor]:
    """Origins of the leaves of any topology, in key order, in batches of at most about `voxels` active voxels."""
    origins = torch.cat([t.leaf_origins for t in topologies])
    keys, first = torch.unique(leaf_keys(origins), return_inverse=True)
    unique = origins.new_empty((len(keys), 3))
    unique[first] = origins
    most = torch.zeros(len(keys), dtype=torch.int64, device=origins.device)
    most.scatter_reduce_(0, first, torch.cat([t.counts for t in topologies]), "sum")
    batch = (most.clamp_max(LEAF_VOXELS).cumsum(0) - 1).clamp_min(0) // voxels
    for part in unique.split(torch.unique_consecutive(batch, return_counts=True)[1].tolist()):
        yield from part.split(max(1, LEAF_MASK_BYTES // (LEAF_VOXELS * len(topologies))))


def _coordinates(origins: Tensor, mask: Tensor) -> Tensor:
    leaf, offset = mask.nonzero(as_tuple=True)
    return origins[leaf] + offset_coordinates(origins.device).to(torch.int32)[offset]


def _scatter(result: Tensor, topology: Topology, leaf: Tensor, outputs: Tensor) -> None:
    """A batch's leaves are consecutive in key order, so a grid's own are consecutive among its rows."""
    own = leaf[leaf >= 0]
    if len(own):
        result[int(topology.starts[own[0]]) : int(topology.starts[own[-1] + 1])] = outputs
