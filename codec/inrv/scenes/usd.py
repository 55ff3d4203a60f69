"""A USD layer that shows volumes: a Volume prim, and an OpenVDBAsset prim for each of its fields.

The layer is text, which USD's own library reads (https://openusd.org, schema UsdVol). It names the
.vdb files and holds no voxel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from inrv.decoding.grid import VolumeGrid
from inrv.decoding.volume import Volume
from inrv.errors import OptionError

Extent = tuple[tuple[float, float, float], tuple[float, float, float]]
Number = float | int  # of a frame

UP_AXES = ("Y", "Z")
# The class of a grid, as OpenVDB and as UsdVol name it.
CLASSES = {
    "level set": "levelSet",
    "fog volume": "fogVolume",
    "staggered": "staggered",
    "unknown": "unknown",
}
# How vectors transform, as OpenVDB and as UsdVol name it.
ROLES = {
    "invariant": "None",
    "covariant": "Normal",
    "covariant normalize": "Normal",
    "contravariant relative": "Vector",
    "contravariant absolute": "Point",
}
# The type of a value, as OpenVDB's names of trees and as UsdVol have it.
DATA_TYPES = {
    "half": "half",
    "float": "float",
    "double": "double",
    "int32": "int",
    "uint32": "uint",
    "int64": "int64",
    "bool": "bool",
    "mask": "mask",
    "string": "string",
    "vec2s": "float2",
    "vec2d": "double2",
    "vec2i": "int2",
    "vec3s": "float3",
    "vec3d": "double3",
    "vec3i": "int3",
}


@dataclass(frozen=True)
class Field:
    """A grid of a .vdb file, as UsdVol describes it.

    name: of the grid, which may be empty
    index: which it is of those of its name
    data_type: one of UsdVol's tokens
    grid_class: likewise; None where it is not known
    role: of vectors, likewise; None for scalars
    """

    name: str
    index: int
    data_type: str
    grid_class: str | None
    role: str | None


@dataclass(frozen=True)
class LayerFrame:
    """What a layer shows at a time.

    number: of the frame, which is its time code; None for a volume that does not move
    asset: path of the .vdb file, from the folder of the layer
    fields: its grids
    extent: the box of its active voxels in world space; None where it is not known
    """

    number: Number | None
    asset: str
    fields: tuple[Field, ...]
    extent: Extent | None


def fields_of(volume: Volume) -> tuple[tuple[Field, ...], list[str]]:
    """Give the fields of a frame, and a line for each grid that can be none."""
    entries: list[tuple[int, str, Field | str]] = []
    for grid in volume.grids:
        entries.append((grid.position, grid.name, _coded(grid)))
    for passed in volume.passthrough:
        found = re.match(r"Tree_([a-z0-9]+)_", passed.tree_type)
        data_type = DATA_TYPES.get(found[1]) if found else None
        field: Field | str = f"UsdVol has no type for {passed.tree_type}"
        if data_type is not None:
            field = Field(passed.name, 0, data_type, None, "None" if data_type[-1] == "3" else None)
        entries.append((passed.position, passed.name, field))
    fields, left_out, seen = list[Field](), list[str](), dict[str, int]()
    for position, name, found_field in sorted(entries, key=lambda item: item[0]):
        index = seen[name] = seen.get(name, -1) + 1
        if not isinstance(found_field, Field):
            left_out.append(f"grid {position} {name!r} is no field of the layer: {found_field}")
        elif not _is_unicode(name):
            left_out.append(
                f"grid {position} {name!r} is no field of the layer: its name is no text"
            )
        else:
            own = found_field
            fields.append(Field(name, index, own.data_type, own.grid_class, own.role))
    return tuple(fields), left_out


def _coded(grid: VolumeGrid) -> Field:
    entry = grid.entry
    role = ROLES.get(entry.vector_type, "None") if len(entry.components) > 1 else None
    data_type = DATA_TYPES[entry.value_type]
    return Field(grid.name, 0, data_type, CLASSES.get(entry.grid_class, "unknown"), role)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def extent_of(volume: Volume) -> Extent | None:
    """Give the box in world space that holds the active voxels of a frame; nothing is decoded.

    Voxels are taken whole, half an edge around their centres. None where a passthrough grid, whose
    box is not known, may reach farther. A frame without an active voxel has the box of a point.
    """
    if volume.passthrough:
        return None
    corners = [corner for grid in volume.grids for corner in _corners(grid)]
    if not corners:
        return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    (x, y, z), (right, top, back) = np.min(corners, axis=0), np.max(corners, axis=0)
    return (float(x), float(y), float(z)), (float(right), float(top), float(back))


def _corners(grid: VolumeGrid) -> list[list[float]]:
    """Give the eight corners of the box of a grid's active voxels, in world space."""
    if grid.entry.box is None:
        return []
    lower, upper = np.asarray(grid.entry.box, dtype=np.float64)
    ends = np.stack([lower - 0.5, upper + 0.5])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    found: list[list[float]] = grid.transform.index_to_world(corners).tolist()
    return found


def layer_text(
    name: str,
    frames: Sequence[LayerFrame],
    rate: tuple[int, int] | None = None,
    up_axis: str = "Y",
) -> str:
    """Give the text of a layer.

    Of several frames each field has the path at the time code of each frame, which is the number of
    the frame, and nothing at a frame that lacks it.

    name: of the Volume prim; characters that no prim may have become underscores
    frames: what it shows: one without a number, or frames by ascending numbers
    rate: frames a second, as numerator and denominator; None where it is not known
    up_axis: one of UP_AXES: the axis that points upwards. The layer says so, and turns nothing

    Raises OptionError for another axis, where there is no frame, and for a path that no layer can
    hold.
    """
    if up_axis not in UP_AXES:
        raise OptionError(f"`up_axis={up_axis!r}` is not one of {', '.join(UP_AXES)}")
    if not frames:
        raise OptionError("a layer needs a frame, and there is none")
    fields = list(dict.fromkeys(field for frame in frames for field in frame.fields))
    prims = dict(zip(fields, identifiers([field.name for field in fields]), strict=True))
    (root,) = identifiers([name], "volume")
    repeated = {field.name for field in fields if field.index}
    lines = ["#usda 1.0", "(", *_indented(_metadata(root, frames, rate, up_axis)), ")", ""]
    lines += [f'def Volume "{root}"', "{"]
    body = _extents(frames)
    body += [f"custom rel field:{own} = </{root}/{own}>" for own in prims.values()]
    for field, prim in prims.items():
        body += ["", f'def OpenVDBAsset "{prim}"', "{"]
        body += _indented(_asset(field, frames, field.name in repeated or not field.name))
        body += ["}"]
    return "\n".join([*lines, *_indented(body), "}", ""])


def identifiers(names: Iterable[str], missing: str = "grid") -> list[str]:
    """Give each name an identifier as USD wants them, which no other one has.

    missing: what an empty name becomes
    """
    found = list[str]()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name) or missing
        plain = f"_{plain}" if plain[0].isdigit() else plain
        number, unique = 0, plain
        while unique in found:
            number += 1
            unique = f"{plain}_{number}"
        found.append(unique)
    return found


def _metadata(
    root: str, frames: Sequence[LayerFrame], rate: tuple[int, int] | None, up_axis: str
) -> list[str]:
    lines = [f'defaultPrim = "{root}"']
    numbers = [frame.number for frame in frames if frame.number is not None]
    if numbers:
        lines += [f"endTimeCode = {numbers[-1]!r}", "metersPerUnit = 1"]
        lines += [f"startTimeCode = {numbers[0]!r}"]
    else:
        lines += ["metersPerUnit = 1"]
    if numbers and rate is not None:
        second = rate[0] / rate[1]
        lines += [f"framesPerSecond = {second!r}", f"timeCodesPerSecond = {second!r}"]
    return [*lines, f'upAxis = "{up_axis}"']


def _extents(frames: Sequence[LayerFrame]) -> list[str]:
    """Give the extent of the volume, unless that of a frame is not known."""
    known = [(frame.number, _box(frame.extent)) for frame in frames if frame.extent is not None]
    if len(known) < len(frames):
        return []
    return _attribute("float3[] extent", known)


def _asset(field: Field, frames: Sequence[LayerFrame], indexed: bool) -> list[str]:
    """Give the attributes of a field.

    indexed: whether its name alone does not tell which grid of the file it is
    """
    lines = [] if field.grid_class is None else [f'token fieldClass = "{field.grid_class}"']
    lines += [f'token fieldDataType = "{field.data_type}"']
    lines += [f"int fieldIndex = {field.index}"] if indexed else []
    lines += [f"token fieldName = {_quoted(field.name)}"]
    paths = [
        (frame.number, _path(frame.asset) if field in frame.fields else "None") for frame in frames
    ]
    lines += _attribute("asset filePath", paths)
    return lines + ([] if field.role is None else [f'token vectorDataRoleHint = "{field.role}"'])


def _attribute(name: str, values: Sequence[tuple[Number | None, str]]) -> list[str]:
    """Give an attribute with a value that stays, or with one at each time code."""
    if values[0][0] is None:
        return [f"{name} = {values[0][1]}"]
    samples = [f"{number!r}: {value}," for number, value in values]
    return [f"{name}.timeSamples = {{", *_indented(samples), "}"]


def _box(extent: Extent) -> str:
    """Write a box in float32, whose corners are rounded outwards."""
    corners = []
    for corner, outwards in zip(extent, (-np.inf, np.inf), strict=True):
        near = np.array(corner, dtype=np.float32)
        inside = near > corner if outwards < 0 else near < corner
        far = np.where(inside, np.nextafter(near, np.float32(outwards)), near)
        corners.append(f"({', '.join(str(float(str(number))) for number in far)})")
    return f"[{', '.join(corners)}]"


def _quoted(text: str) -> str:
    """Write a text in quotes, with escapes for what would end or break it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f'"{escaped}"'


def _path(path: str) -> str:
    """Write the path of an asset. Raises OptionError for one that no layer can hold."""
    if not path.isprintable() or "@@@" in path or path.endswith("@"):
        raise OptionError(f"the path {path!r} cannot stand in a USD layer: name another folder")
    return f"@@@{path}@@@" if "@" in path else f"@{path}@"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}".rstrip() for line in lines]
