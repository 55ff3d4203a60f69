"""Volumes of .inrv files, open: their grids, decoded where and when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, reduce
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal, overload

from inrv.container import (
    Container,
    FrameEntry,
    Manifest,
    PassthroughEntry,
)
from inrv.decoding.bricks import BrickCache
from inrv.decoding.grid import VolumeGrid, named_errors
from inrv.decoding.values import GridValues, check_limits
from inrv.errors import MissingGridError, UnsupportedGridError
from inrv.fields.seam import NoOutputs, Outputs, check_field
from inrv.grids import Box, Grid, PassthroughGrid, SparseVolume
from inrv.storage import StoredGrids, restore_metadata, restore_passthrough
from inrv.support.parallel import workers
from inrv.support.streams import Writable, check_writable
from inrv.support.undisturbed import undisturbed

if TYPE_CHECKING:
    from inrv.decoding.between import VolumeBetween
    from inrv.decoding.frames import Frames


class OpenFile:
    """A container, open: what all of its frames share.

    container: the file
    asked_device: where the caller wants a network to be computed; None: the best there is
    cache: decoded regions, of other open files too
    codec: of its field; None where no component has an output
    stored: its grids as they are stored
    values: the values of each coded grid
    """

    def __init__(self, container: Container, device: str | None, cache: BrickCache) -> None:
        self.container, self.asked_device, self.cache = container, device, cache
        field = container.manifest.field
        with named_errors(container):
            self.codec = None if field is None else check_field(field, container)
        self.stored = StoredGrids(container)
        self.values: list[GridValues] = []
        self.values += [
            GridValues(
                container, self.stored, number, lambda: self.outputs, self.values, self.cache
            )
            for number in range(len(container.manifest.grids))
        ]

    @cached_property
    @undisturbed()
    def outputs(self) -> Outputs:
        """The field, open. Raises FormatError."""
        if self.codec is None:
            return NoOutputs()
        with named_errors(self.container):
            return self.codec.open(self.container, self.stored, self.asked_device)


class Volume(Mapping[str, VolumeGrid]):
    """The coded grids of a volume: a mapping of their keys, in the order of the file.

    A grid is found by its position too.

    The key of a grid is its name; where that is missing or taken by one before, its number stands
    behind it, as in `density[1]`. Passthrough grids have no values here: `passthrough` lists them,
    and `to_vdb` writes them. A volume holds no file open between two reads, so `with load(...) as
    volume` is allowed and needs not be. It pickles by its path or URL, or its bytes where it has
    none, and is opened anew where it is unpickled. Threads may share it, and forked processes may
    go on with it; each process decodes the regions that it needs and does not have.

    frames: all frames of the file
    file: the container that holds it, open
    place: which of the container's frames it is, from 0
    container: the container
    codec: of its field; None where no component has an output
    grids: the coded grids, in order
    by_key: the same by key
    """

    def __init__(self, frames: Frames, file: OpenFile, place: int) -> None:
        self.frames, self.file, self.place = frames, file, place
        self.container, self.codec = file.container, file.codec
        positions = self.manifest.positions
        self.grids = tuple(
            VolumeGrid(self, positions[number], file.values[number])
            for number in self.manifest.grids_of(place)
        )
        self.by_key = dict(
            zip(unique_keys([grid.name for grid in self.grids]), self.grids, strict=True)
        )

    @property
    def cache(self) -> BrickCache:
        """The decoded regions that are kept, of other frames too."""
        return self.file.cache

    @property
    def outputs(self) -> Outputs:
        """The field of the file, open. Raises FormatError."""
        return self.file.outputs

    @property
    def field(self) -> Any:
        """The torch.nn.Module of a field that is a network; None for a lattice."""
        return self.outputs.module

    @property
    def device(self) -> str:
        """Where values are computed, and where `VolumeGrid.tensor` puts them."""
        return self.file.asked_device or self.outputs.device

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.container.manifest

    @property
    def frame(self) -> FrameEntry:
        """What the file says of it as a frame."""
        return self.manifest.frames[self.place]

    @property
    def passthrough(self) -> tuple[PassthroughEntry, ...]:
        """The grids that are stored as they were, by position."""
        return self.manifest.passthrough_of(self.place)

    @property
    def number(self) -> float | int:
        """The number of the frame; 0 for a volume that has none."""
        return 0 if self.frame.number is None else self.frame.number

    @property
    def time(self) -> float | None:
        """The time of the frame, in the unit of its sequence; None where it is not known."""
        return self.frame.time

    @overload
    def at(self, time: float, interpolation: Literal["nearest"] = "nearest") -> Volume: ...
    @overload
    def at(self, time: float, interpolation: str) -> Volume | VolumeBetween: ...

    def at(self, time: float, interpolation: str = "nearest") -> Volume | VolumeBetween:
        """The frame of the file at a time, as `Frames.at` gives it. Raises OptionError."""
        return self.frames.at(time, interpolation)

    def __reduce__(self) -> tuple[Any, ...]:
        return getitem, (self.frames, self.number)

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        frame = f", frame {self.number}" if self.frames.is_sequence else ""
        head = f"<inrv.Volume {self.container.name!r}{frame}, {self.container.size:,} bytes>"
        grids = [f"  {key!r}: {grid.description}" for key, grid in self.by_key.items()]
        others = [
            f"  {entry.name!r}: {entry.tree_type}, passed through ({entry.reason})"
            for entry in self.passthrough
        ]
        return "\n".join([head, *grids, *others])

    def _repr_html_(self) -> str:
        """What Jupyter shows: a table of the grids, with pictures where they cost little."""
        from inrv.decoding.html import page

        return page(self.container, self.by_key, self.passthrough)

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
            # `pop`, so that no grid is held twice.
            return [grid.marked(grid.values_of_grid.filled(found.pop())) for grid in grids]

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
        metadata, version = restore_metadata(self.frame.metadata), self.frame.vdb_version
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

    def to_openvdb(self, level: int = 0, box: Box | Any = None) -> list[Any]:
        """Decode every grid into one of OpenVDB's own module, as `openvdb.FloatGrid`.

        level, box: as `to_sparse` takes them
        Raises MissingPackageError where there is no such module, and OptionError where it does not
        know the type of a grid.
        """
        from inrv import files

        return files.to_openvdb(self.to_sparse(level, box))

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
