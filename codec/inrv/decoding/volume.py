"""An .inrv file, open: its grids, decoded where and when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

from inrv.container import Container, Limits, Manifest, PassthroughEntry, read_container
from inrv.decoding.bricks import CACHE_BYTES, BrickCache
from inrv.decoding.grid import VolumeGrid, named_errors
from inrv.decoding.values import GridValues, check_limits
from inrv.errors import MissingGridError, OptionError, UnsupportedGridError
from inrv.fields.seam import NoOutputs, Outputs, check_field
from inrv.grids import Box, Grid, PassthroughGrid, SparseVolume
from inrv.storage import StoredGrids, restore_metadata, restore_passthrough
from inrv.support.device import check_device
from inrv.support.parallel import workers
from inrv.support.streams import Readable, Writable, check_writable
from inrv.support.undisturbed import undisturbed


@undisturbed()
def load(
    source: Readable,
    device: Any = None,
    limits: Limits = Limits(),
    *,
    cache_bytes: int = CACHE_BYTES,
) -> Volume:
    """Open an .inrv file. Raises FormatError where it is no valid .inrv file or exceeds the limits.

    Chunks are read, and the field is opened, when they are first needed.

    source: a path; a URL, as https://host/fog.inrv, of which only what is needed is read; the bytes
        of the file; or a binary file object, which is read to its end from where it stands
    device: where a network is computed and where `tensor` puts values, as 'cuda'; None: the best
        there is. Raises OptionError where it cannot be used
    limits: what the file may take, now and when its grids are decoded
    cache_bytes: that decoded regions may take which points and boxes asked for; those that were
        not used for longest are dropped, and decoded again when they are needed
    """
    check_device(device)
    container = read_container(source, limits)
    if not isinstance(cache_bytes, int) or cache_bytes < 0:
        raise OptionError(f"cache_bytes is {cache_bytes!r}: it must be a number of bytes")
    return Volume(container, None if device is None else str(device), cache_bytes)


class Volume(Mapping[str, VolumeGrid]):
    """The coded grids of an .inrv file: a mapping of their keys, in the order of the file.

    A grid is found by its position too.

    The key of a grid is its name; where that is missing or taken by one before, its number stands
    behind it, as in `density[1]`. Passthrough grids have no values here: `passthrough` lists them,
    and `to_vdb` writes them. A volume holds no file open between two reads, so `with load(...) as
    volume` is allowed and needs not be. It pickles by its path or URL, or its bytes where it has
    none, and is opened anew where it is unpickled. Threads may share it, and forked processes may
    go on with it; each process decodes the regions that it needs and does not have.

    container: the file
    cache: its decoded regions
    grids: the coded grids, in order
    by_key: the same by key
    """

    def __init__(
        self, container: Container, device: str | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.container = container
        self.cache = BrickCache(cache_bytes)
        self._asked_device = device
        with named_errors(container):
            self.codec = (
                None
                if container.manifest.field is None
                else check_field(container.manifest.field, container)
            )
        self.stored = StoredGrids(container)
        values: list[GridValues] = []
        values += [
            GridValues(container, self.stored, number, lambda: self.outputs, values, self.cache)
            for number in range(len(self.manifest.grids))
        ]
        placed = zip(self.manifest.positions, values, strict=True)
        self.grids = tuple(VolumeGrid(self, position, own) for position, own in placed)
        self.by_key = dict(
            zip(unique_keys([grid.name for grid in self.grids]), self.grids, strict=True)
        )

    @cached_property
    @undisturbed()
    def outputs(self) -> Outputs:
        """The field, open. Raises FormatError."""
        if self.codec is None:
            return NoOutputs()
        with named_errors(self.container):
            return self.codec.open(self.container, self.stored, self._asked_device)

    @property
    def field(self) -> Any:
        """The torch.nn.Module of a field that is a network; None for a lattice."""
        return self.outputs.module

    @property
    def device(self) -> str:
        """Where values are computed, and where `VolumeGrid.tensor` puts them."""
        return self._asked_device or self.outputs.device

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.container.manifest

    @property
    def passthrough(self) -> tuple[PassthroughEntry, ...]:
        """The grids that are stored as they were, by position."""
        return self.manifest.passthrough

    def __reduce__(self) -> tuple[Any, ...]:
        return Volume, (self.container, self._asked_device, self.cache.most_bytes)

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        head = f"<inrv.Volume {self.container.name!r}, {self.container.size:,} bytes>"
        grids = [f"  {key!r}: {grid.description}" for key, grid in self.by_key.items()]
        others = [
            f"  {entry.name!r}: {entry.tree_type}, passed through ({entry.reason})"
            for entry in self.passthrough
        ]
        return "\n".join([head, *grids, *others])

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_key)

    def __len__(self) -> int:
        return len(self.grids)

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not None

    def __getitem__(self, key: str | int) -> VolumeGrid:
        """The grid of that key, or at position `key` of the file.

        Raises MissingGridError, a KeyError, where there is none, UnsupportedGridError where it is a
        passthrough grid.
        """
        found = self._find(key)
        if found is not None:
            return found
        for entry in self.passthrough:
            if key in (entry.position, entry.name):
                raise UnsupportedGridError(
                    f"{self.container.name}: grid {entry.position} {entry.name!r} is passed "
                    f"through ({entry.reason}): decode the file and read it from the .vdb"
                )
        names = ", ".join(map(repr, self)) or "none"
        raise MissingGridError(f"{self.container.name}: no grid {key!r}; the file holds {names}")

    def _find(self, key: object) -> VolumeGrid | None:
        return next(
            (grid for name, grid in self.by_key.items() if key in (name, grid.position)), None
        )

    @undisturbed()
    def decode(self, grids: Sequence[VolumeGrid]) -> list[Grid]:
        """`grids`, decoded together. Raises FormatError, beyond the limits too."""
        values = [grid.values_of_grid for grid in grids]
        with named_errors(self.container), workers():
            check_limits(self.container, self.outputs, values)
            for own in values:
                own.read_ahead_whole()
            topologies = [own.whole_topology for own in values]
            found = self.outputs.values(topologies, [own.columns for own in values])
            found.reverse()
            return [own.filled(found.pop()) for own in values]  # so that no grid is held twice

    @undisturbed()
    def to_sparse(self, level: int = 0, box: Box | Any = None) -> SparseVolume:
        """Every grid, its active voxels decoded, and every passthrough grid.

        level: of detail, 0 to 6: only every 2^level-th voxel, as `VolumeGrid.level` gives it
        box: only its voxels, as `VolumeGrid.crop` gives them

        Passthrough grids are left out where one of these is asked for: they are bytes as a whole.
        """
        others: tuple[PassthroughGrid, ...] = ()
        if level or box is not None:
            decoded = tuple(grid.level(level, box) for grid in self.grids)
        else:
            decoded = tuple(self.decode(self.grids))
            others = tuple(restore_passthrough(self.container, entry) for entry in self.passthrough)
        metadata, version = restore_metadata(self.manifest.metadata), self.manifest.vdb_version
        if version is None:
            return SparseVolume(decoded, metadata, others)
        return SparseVolume(decoded, metadata, others, version)

    def to_vdb(self, target: Writable, level: int = 0, box: Box | Any = None) -> None:
        """Decode every grid into a .vdb file.

        At a path it appears as a whole, in place of a file that is there; or it goes into a file
        object.

        level, box: as `to_sparse` takes them
        Raises VdbError, and OutputError where no file can be written at the path.
        """
        from inrv import files

        check_writable(target)
        files.write(target, self.to_sparse(level, box))

    @property
    def box(self) -> Box | None:
        """The smallest box in index space that holds every active voxel of all grids."""
        boxes = [grid.box for grid in self.grids if grid.box is not None]
        return reduce(Box.union, boxes) if boxes else None


def unique_keys(names: Sequence[str]) -> list[str]:
    """Give each grid a key: its name, or one with a number behind it, as in `density[1]`.

    A number stands where the name is missing or taken by a grid before.
    """
    keys, taken, seen = list[str](), set(names), Counter[str]()
    for name in names:
        number, key = seen[name], name
        while not name or (seen[name] and key in taken):
            key = f"{name}[{number}]"
            if key not in taken:
                break
            number += 1
        seen[name] += 1
        taken.add(key)
        keys.append(key)
    return keys
