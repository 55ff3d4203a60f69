"""Evaluation of a network at voxels and points, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.fields.fourier.network import FourierNetwork
from inrv.grids import LEAF_VOXELS, Topology, leaf_keys, offset_coordinates
from inrv.support.device import products_in
from inrv.support.parallel import in_threads

# Bytes of the activations of a batch: on CPUs near the size of a cache, on all devices little
# beside the volume.
# measured: docs/lab-notes.md#training-speed
BATCH_BYTES = {"cpu": 1 << 24, "cuda": 1 << 32}
OTHER_BATCH_BYTES = 1 << 29
BATCHES_PER_PART = 16  # batches whose leaves are listed at a time
LEAF_MASK_BYTES = 1 << 26  # bytes of the masks of listed leaves, of all topologies together


def batch_voxels(network: FourierNetwork, device: torch.device) -> int:
    """Return how many voxels a batch has, so that its activations take BATCH_BYTES."""
    return max(1, BATCH_BYTES.get(device.type, OTHER_BATCH_BYTES) // (4 * network.floats_per_voxel))


def evaluate(
    network: FourierNetwork,
    coordinates: Tensor,
    columns: Sequence[int] | None = None,
    batch: int | None = None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Evaluate a network in batches: normalised outputs float32 (N, len(columns)). Differentiable.

    network: the network, on the device of the coordinates
    coordinates: int32 or float32 (N, axes) positions in index space, and places in time
    columns: numbers of the outputs to return, in this order; None: all
    batch: int positions at a time; None: as many as fit BATCH_BYTES
    precision: dtype that matrices are multiplied in where no gradients are asked
    """
    size = batch or batch_voxels(network, coordinates.device)
    chosen = slice(None) if columns is None else list(columns)
    if torch.is_grad_enabled():
        return torch.cat([network(part)[:, chosen] for part in coordinates.split(size)])
    device = coordinates.device
    # Results go into one tensor: small ones between the activations of two batches would keep the
    # heap from being used again.
    width = network.outputs if columns is None else len(columns)
    result = coordinates.new_empty((len(coordinates), width), dtype=torch.float32)

    def fill(first: int) -> None:
        part = slice(first, first + size)
        with torch.no_grad(), products_in(precision, device):
            result[part] = network(coordinates[part])[:, chosen]

    in_threads(fill, range(0, len(coordinates), size), device)
    return result


def evaluate_outputs(
    network: FourierNetwork,
    points: Tensor,
    outputs: Sequence[int],
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Evaluate outputs of the field at points of index space, each at its place in time.

    network: the network, on the device of the points
    points: int32 or float32 (N, 3) positions in index space
    outputs: numbers of the outputs of the field
    precision: dtype that matrices are multiplied in where no gradients are asked

    Return float32 (N, len(outputs)).
    """
    time = network.shape.time
    if time is None:
        return evaluate(network, points, outputs, precision=precision)
    found: list[Tensor] = [points] * len(outputs)
    for place in sorted({time.places[output] for output in outputs}):
        own = [at for at, output in enumerate(outputs) if time.places[output] == place]
        columns = [time.columns[outputs[at]] for at in own]
        values = evaluate(network, at_place(points, place), columns, precision=precision)
        for at, column in zip(own, values.unbind(dim=1), strict=True):
            found[at] = column
    return torch.stack(found, dim=1) if found else points.new_empty((len(points), 0)).float()


def at_place(points: Tensor, place: float) -> Tensor:
    """Return points (N, 3) of index space as coordinates (N, 4) at a place in time."""
    return torch.cat([points, torch.full_like(points[:, :1], place)], dim=1)


def decode_active(
    network: FourierNetwork,
    topologies: Sequence[Topology],
    columns: Sequence[Sequence[int]],
    precision: torch.dtype = torch.float32,
) -> list[NDArray[np.float32]]:
    """Evaluate a network on the active leaf voxels of several grids.

    network: the network
    topologies: topology of each grid
    columns: numbers of the outputs of the field to return for each grid
    precision: dtype that matrices are multiplied in

    Return for each grid i an array float32 (voxels, len(columns[i])). A leaf that several grids
    share is evaluated once, for all of them, at the voxels that are active in any; where the
    network knows time, this holds for those of a frame.
    """
    time = network.shape.time
    if time is None:
        return _decode_at(network, None, topologies, columns, precision)
    results = [
        np.empty((topology.leaf_voxel_count, len(chosen)), dtype=np.float32)
        for topology, chosen in zip(topologies, columns, strict=True)
    ]
    for place in sorted({time.places[output] for chosen in columns for output in chosen}):
        own = [
            [at for at, output in enumerate(chosen) if time.places[output] == place]
            for chosen in columns
        ]
        asked = [
            [time.columns[chosen[at]] for at in rows]
            for chosen, rows in zip(columns, own, strict=True)
        ]
        found = _decode_at(network, place, topologies, asked, precision)
        for result, rows, values in zip(results, own, found, strict=True):
            result[:, rows] = values
    return results


def _decode_at(
    network: FourierNetwork,
    place: int | None,
    topologies: Sequence[Topology],
    columns: Sequence[Sequence[int]],
    precision: torch.dtype,
) -> list[NDArray[np.float32]]:
    """Return what `decode_active` returns, of outputs of the network at one place in time.

    place: in time; None where the network does not know it
    """
    results = [
        np.empty((topology.leaf_voxel_count, len(chosen)), dtype=np.float32)
        for topology, chosen in zip(topologies, columns, strict=True)
    ]
    asked = [
        (t, c, r)
        for t, c, r in zip(topologies, columns, results, strict=True)
        if len(c) and t.leaf_count
    ]
    if not asked:
        return results
    device = network.B.device
    different = list({id(topology): topology for topology, _, _ in asked}.values())
    used = sorted({column for _, chosen, _ in asked for column in chosen})
    places = {column: place for place, column in enumerate(used)}
    with torch.no_grad():
        for origins in _leaf_batches(different, BATCHES_PER_PART * batch_voxels(network, device)):
            leaves = {id(t): t.find_leaves(origins) for t in different}
            masks = {id(t): t.masks_of(leaves[id(t)]) for t in different}
            union = np.logical_or.reduce(list(masks.values()))
            coordinates = (
                torch.from_numpy(_coordinates(origins, union))
                if device.type == "cpu"
                else coordinates_on(device, origins, union)
            )
            if place is not None:
                coordinates = at_place(coordinates, place)
            outputs = evaluate(network, coordinates, used, precision=precision).cpu().numpy()
            for topology, chosen, result in asked:
                own = outputs[masks[id(topology)][union]][:, [places[column] for column in chosen]]
                _scatter(result, topology, leaves[id(topology)], own)
    return results


def _leaf_batches(topologies: Sequence[Topology], voxels: int) -> Iterator[NDArray[np.int32]]:
    """Yield the origins int32 (n, 3) of the leaves of any topology, in key order.

    A batch has about `voxels` active voxels at most.
    """
    origins = np.concatenate([t.leaf_origins for t in topologies])
    keys, first, inverse = np.unique(leaf_keys(origins), return_index=True, return_inverse=True)
    unique = origins[first]
    most = np.zeros(len(keys), dtype=np.int64)
    np.add.at(most, inverse, np.concatenate([t.counts for t in topologies]))
    batch = np.maximum(np.minimum(most, LEAF_VOXELS).cumsum() - 1, 0) // voxels
    largest = max(1, LEAF_MASK_BYTES // (LEAF_VOXELS * len(topologies)))
    for part in np.split(unique, np.flatnonzero(np.diff(batch)) + 1):
        for begin in range(0, len(part), largest):
            yield part[begin : begin + largest]


def _coordinates(origins: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the coordinates int32 (n, 3) of the voxels that a mask bool (leaves, 512) marks."""
    leaf, offset = mask.nonzero()
    found: NDArray[np.int32] = origins[leaf] + offset_coordinates().astype(np.int32)[offset]
    return found


def coordinates_on(
    device: torch.device, origins: NDArray[np.int32], mask: NDArray[np.bool_]
) -> Tensor:
    """Return what `_coordinates` returns, listed by a device, which is faster than a copy."""
    leaf, offset = torch.from_numpy(mask).to(device).nonzero(as_tuple=True)
    within = torch.from_numpy(offset_coordinates().astype(np.int32)).to(device)
    return torch.from_numpy(origins).to(device)[leaf] + within[offset]


def _scatter(
    result: NDArray[np.float32],
    topology: Topology,
    leaf: NDArray[np.int64],
    outputs: NDArray[np.float32],
) -> None:
    """Put a batch's outputs into the result of a grid.

    The leaves of a batch are consecutive in key order, so those of a grid are consecutive rows.
    """
    own = leaf[leaf >= 0]
    if len(own):
        result[topology.starts[own[0]] : topology.starts[own[-1] + 1]] = outputs
