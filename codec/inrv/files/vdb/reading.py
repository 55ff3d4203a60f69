"""From a .vdb file to sparse grids, and to the bytes of those that are not coded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError, SelectionError, VdbError
from inrv.files.selection import chosen
from inrv.files.vdb.header import (
    FLAGS_PER_GRID,
    STATISTICS,
    GridDescriptor,
    NotCoded,
    decode_transform,
    read_grid_header,
    saved_as_half,
)
from inrv.files.vdb.listing import VdbHeader, read_header
from inrv.files.vdb.nodes import Encoding, Tree, popcounts, read_tree
from inrv.files.vdb.values import Bits, ValueType
from inrv.grids import (
    LEAF_VOXELS,
    BeyondFloat32,
    Grid,
    LeafValues,
    Metadata,
    PassthroughGrid,
    Rounding,
    SparseVolume,
    Topology,
    check_range,
    ragged,
    round_numbers,
)
from inrv.support.inputs import Input
from inrv.support.streams import Readable, input_of
from inrv.support.undisturbed import undisturbed

TREES = {
    "Tree_float_5_4_3": ValueType(1),
    "Tree_vec3s_5_4_3": ValueType(3),
    "Tree_double_5_4_3": ValueType(1, 8),
    "Tree_vec3d_5_4_3": ValueType(3, 8),
}
VALUE_TYPES = {1: "float", 3: "vec3s"}
DOUBLES = ("passthrough", "float")
# Tree types that are not the names of values.
_SPOKEN = {"ptdataidx32": "points", "ptidx32": "point index"}


def list_grids(source: Readable) -> tuple[GridDescriptor, ...]:
    """List every grid of a .vdb file, of any type, in the file's order. Raises VdbError."""
    return read_header(source).grids


@undisturbed()
def read_volume(
    source: Readable, grids: Sequence[str | int] | None = None, *, doubles: str = "passthrough"
) -> SparseVolume:
    """Read the grids of a .vdb file.

    Float and vec3s grids are read to the bit. Others are passed through as the bytes they are, and
    so is what cannot be coded: grids with transforms that are not linear, a background that is not
    finite or voxels too far from the origin. Files of versions 219 to 221 are read where all their
    grids can be coded.

    source: a path, bytes or a binary file object
    grids: names or positions of some, in the order that is wanted; None for all in the file's order
    doubles: 'passthrough', or 'float': double and vec3d grids are rounded to float and vec3s, but
        for those with values beyond them

    Raises VdbError where the file cannot be read or is damaged, OptionError where a chosen grid is
    not there, or must be passed through and shares the tree of one that is not chosen.
    """
    if doubles not in DOUBLES:
        raise OptionError(f"`doubles={doubles!r}` is not one of {', '.join(DOUBLES)}")
    file = input_of(source)
    header = read_header(file)
    wanted = header.grids if grids is None else chosen(file.name, header.grids, grids)
    try:
        read = _Source(file, header, doubles).read(wanted)
    except OSError as error:
        raise VdbError(f"{file.name} cannot be read: {error.strerror or error}") from error
    return SparseVolume(
        grids=tuple(grid for grid in read if isinstance(grid, Grid)),
        metadata=header.metadata,
        passthrough=tuple(grid for grid in read if isinstance(grid, PassthroughGrid)),
        vdb_version=(max(header.version, FLAGS_PER_GRID), *header.library),
    )


class _Source:
    """The grids of one file; a tree that several of them share is read once."""

    def __init__(self, file: Input, header: VdbHeader, doubles: str) -> None:
        self.file, self.doubles = file, doubles
        self.owners = {grid.unique_name: grid for grid in reversed(header.grids) if not grid.parent}
        parents = {grid.parent for grid in header.grids} & self.owners.keys()
        self.shared: dict[int, Grid | NotCoded | None] = {
            self.owners[name].position: None for name in parents
        }

    def read(self, chosen: Sequence[GridDescriptor]) -> list[Grid | PassthroughGrid]:
        """Read grids to be coded, or to be passed through.

        Those that share a tree with one that is passed through are passed through too.
        """
        found = {descriptor.position: self._grid_or_reason(descriptor) for descriptor in chosen}
        for descriptor in chosen:
            owner = self._owner(descriptor)
            if owner is descriptor or not isinstance(found[descriptor.position], str):
                continue
            if owner.position not in found:
                raise OptionError(
                    f"{self._where(descriptor)} shares the tree of grid {owner.position}: "
                    "choose that one too"
                )
            if not isinstance(found[owner.position], str):
                found[owner.position] = f"grid {descriptor.position} shares its tree"
        places = {position: place for place, position in enumerate(found)}
        read = ((descriptor, found[descriptor.position]) for descriptor in chosen)
        return [
            self._pass(descriptor, grid, places) if isinstance(grid, str) else grid
            for descriptor, grid in read
        ]

    def _where(self, descriptor: GridDescriptor) -> str:
        return f"{self.file.name}: grid {descriptor.position} {descriptor.name!r}"

    def _owner(self, descriptor: GridDescriptor) -> GridDescriptor:
        """The grid whose tree this one has: itself, or its parent."""
        if not descriptor.parent:
            return descriptor
        owner = self.owners.get(descriptor.parent)
        if owner is not None and owner.tree_type == descriptor.tree_type:
            return owner
        raise VdbError(
            f"{self._where(descriptor)} shares the tree of {descriptor.parent!r}, "
            "which is not there: damaged"
        )

    def _grid_or_reason(self, descriptor: GridDescriptor) -> Grid | str:
        try:
            return self._grid(descriptor)
        except NotCoded as reason:
            return str(reason)

    def _grid(self, descriptor: GridDescriptor) -> Grid:
        """Read a grid. Raises NotCoded."""
        owner = self._owner(descriptor)
        if descriptor.tree_type not in TREES:
            raise NotCoded(_type_reason(descriptor))
        header = read_grid_header(self.file, descriptor)
        try:
            transform = decode_transform(header.map_type, header.map_data)
        except OptionError as error:
            raise NotCoded(str(error)) from error
        grid = self._bare_grid(owner)
        metadata = {key: value for key, value in header.metadata.items() if key not in STATISTICS}
        return replace(
            grid,
            name=descriptor.name,
            transform=transform,
            grid_class=_text(metadata, "class", "unknown"),
            vector_type=_text(metadata, "vector_type", "invariant"),
            saved_as_half=saved_as_half(metadata),
            metadata=metadata,
        )

    def _bare_grid(self, owner: GridDescriptor) -> Grid:
        """Read the tree of `owner`, without a name or other properties.

        It is read once where it is shared. Raises NotCoded.
        """
        found = self.shared.get(owner.position)
        if found is None:
            try:
                found = self._read_bare_grid(owner)
            except NotCoded as reason:
                found = reason
            if owner.position in self.shared:
                self.shared[owner.position] = found
        if isinstance(found, NotCoded):
            raise found
        return found

    def _read_bare_grid(self, descriptor: GridDescriptor) -> Grid:
        try:
            header = read_grid_header(self.file, descriptor)
        except NotCoded as reason:
            message = f"shares the tree of grid {descriptor.position}, with {reason}"
            raise NotCoded(message) from reason
        kind = TREES[descriptor.tree_type]
        old = descriptor.compression is not None
        encoding = Encoding(kind, saved_as_half(header.metadata), header.compression, old)
        data = self._bytes(descriptor, header.topology)
        tree = read_tree(data, self._where(descriptor), encoding)
        if not kind.double:
            return _convert(tree, VALUE_TYPES[kind.components])
        if self.doubles == "passthrough":
            raise NotCoded(_type_reason(descriptor))
        grid = _convert(_rounded(tree), VALUE_TYPES[kind.components])
        return replace(grid, rounded=_rounding_of(tree))

    def _bytes(self, descriptor: GridDescriptor, start: int) -> bytes:
        """The file from byte `start` to the end of the grid."""
        data = self.file.part(start, max(min(descriptor.end, self.file.size) - start, 0))
        if len(data) != descriptor.end - start:
            raise VdbError(
                f"{self._where(descriptor)} should end at byte {descriptor.end:,}: "
                "truncated or damaged"
            )
        return data

    def _pass(
        self, descriptor: GridDescriptor, reason: str, places: dict[int, int]
    ) -> PassthroughGrid:
        """Give the grid as the bytes it is.

        reason: why it is not coded
        places: the place of each chosen position among all that are chosen
        """
        if descriptor.compression is not None:
            raise VdbError(
                f"{self._where(descriptor)} cannot be coded ({reason}), and passed through only "
                f"from file version {FLAGS_PER_GRID} on: save it anew with OpenVDB"
            )
        owner = self._owner(descriptor)
        return PassthroughGrid(
            position=places[descriptor.position],
            name=descriptor.name,
            tree_type=descriptor.tree_type,
            half=descriptor.half,
            parent=None if owner is descriptor else places[owner.position],
            blocks=descriptor.blocks - descriptor.start,
            data=self._bytes(descriptor, descriptor.start),
            reason=reason,
        )


def _type_reason(descriptor: GridDescriptor) -> str:
    match = re.fullmatch(r"Tree_([a-z0-9]+)_5_4_3", descriptor.tree_type)
    if match is None:
        return f"tree of type {descriptor.tree_type}"
    return _SPOKEN.get(match[1], f"{match[1]} values")


def _text(metadata: Metadata, key: str, default: str) -> str:
    entry = metadata.get(key)
    return entry.value if entry is not None and isinstance(entry.value, str) else default


def _rounded(tree: Tree) -> Tree:
    """Round a tree of doubles to floats; what then equals the background is no longer listed."""
    parts = (tree.background, tree.values, tree.inactive, tree.tile_values)
    background, values, inactive, tiles = map(_round, parts)
    kept = tree.tile_active | (tiles != background).any(axis=1)
    off = (inactive != background).any(axis=1)
    return replace(
        tree,
        background=background,
        values=values,
        places=tree.places[off],
        inactive=inactive[off],
        tile_origins=tree.tile_origins[kept],
        tile_edges=tree.tile_edges[kept],
        tile_active=tree.tile_active[kept],
        tile_values=tiles[kept],
    )


def _rounding_of(tree: Tree) -> Rounding | None:
    """Tell how the active values of a tree of doubles are rounded.

    Raises NotCoded where one of them is beyond float.
    """
    active = np.concatenate([tree.values, tree.tile_values[tree.tile_active]])
    doubles = active.view(np.float64)
    try:
        return round_numbers(doubles)[1]
    except BeyondFloat32 as error:
        raise NotCoded(f"the value {error}") from error


def _round(bits: Bits) -> Bits:
    with np.errstate(over="ignore", invalid="ignore"):
        return bits.view(np.float64).astype(np.float32).view(np.uint32)


def _convert(tree: Tree, value_type: str) -> Grid:
    """Make a grid with the values of a tree of floats. Raises NotCoded."""
    background = _floats(tree.background.copy())
    if not np.isfinite(background).all():
        raise NotCoded(f"background {', '.join(str(value) for value in background.tolist())}")
    try:
        topology = _topology(tree)
    except SelectionError as error:
        raise NotCoded(str(error)) from error
    values, places, inactive = _in_key_order(tree)
    return Grid(
        name="",
        value_type=value_type,
        background=background,
        topology=topology,
        values=_floats(values),
        tile_values=_floats(tree.tile_values),
        inactive=LeafValues(places, _floats(inactive)),
    )


def _floats(bits: Bits) -> NDArray[np.float32]:
    return bits.view(np.float32)


def _topology(tree: Tree) -> Topology:
    """Give all leaves and tiles. Raises SelectionError where one is too far away."""
    check_range(tree.tile_origins)
    return replace(
        Topology.from_leaves(tree.leaf_origins, tree.leaf_masks),
        tile_origins=tree.tile_origins.astype(np.int32),
        tile_edges=tree.tile_edges,
        tile_active=tree.tile_active,
    )


def _in_key_order(tree: Tree) -> tuple[Bits, NDArray[np.int64], Bits]:
    """Give values, places and inactive values with the leaves in the order of a topology.

    The file's order is another where there are several nodes of 4096^3, which a topology ignores.
    """
    order = Topology.order_of(tree.leaf_origins)
    if (order[1:] > order[:-1]).all():
        return tree.values, tree.places, tree.inactive
    counts = popcounts(tree.leaf_masks)
    first = counts.cumsum() - counts
    rows = ragged(first[order], counts[order])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    places = place[tree.places // LEAF_VOXELS] * LEAF_VOXELS + tree.places % LEAF_VOXELS
    ascending = places.argsort()
    return tree.values[rows], places[ascending], tree.inactive[ascending]
