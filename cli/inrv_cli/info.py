"""The command `inrv info`."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import debug_option
from inrv_cli.files import check_input, read_input, source_of
from inrv_cli.frames import Source, frames_from, frames_named, ranges
from inrv_cli.limits import limits_option
from inrv_cli.opening import frame_options, open_volume
from inrv_cli.text import (
    PARTS,
    counted,
    decibels,
    labelled,
    name_of,
    print_json,
    size,
    table,
)

if TYPE_CHECKING:
    from inrv import Frames, Limits, Volume, VolumeGrid
    from inrv.container import MetaEntry

COMPRESSIONS = {0: "none", 1: "zstd"}

# By threshold rule, the number that makes a voxel active where it is above the threshold.
ACTIVITIES = {
    "above": "the decoded value",
    "away": "the distance of the decoded value from the background",
    "within": "the background minus the magnitude of the decoded value",
}

# Metadata of OpenVDB for properties of a grid that have lines of their own.
SHOWN_AS_PROPERTIES = {"name", "class", "vector_type", "is_saved_as_half_float"}


@click.command(short_help="Show what an .inrv file holds.")
@click.argument("file", type=source_of, metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@frame_options
@limits_option
@debug_option
def info(
    file: Source, as_json: bool, frame: float | None, time: float | None, limits: Limits
) -> None:
    """Show what an .inrv file holds.

    The command shows the field, the grids, their topology, transforms and metadata, and the bytes
    of each chunk. Of a sequence it shows one frame, and its group: the grids over the frames of the
    group, and its chunks by their types. FILE is a file, a URL, or '-' for stdin.
    """
    check_input(file)
    found = describe(open_volume(read_input(file), "cpu", limits, frame, time))
    if as_json:
        print_json(found)
    else:
        click.echo(as_text(found))


def describe(volume: Volume) -> dict[str, Any]:
    """Return everything that `info` shows, ready for JSON."""
    manifest, container = volume.manifest, volume.container
    field = None
    if manifest.field is not None:
        entry = manifest.field
        field = {"kind": entry.kind, "outputs": entry.outputs, "config": entry.config}
        field |= {} if volume.codec is None else volume.codec.describe(container)
    return {
        "file": container.name,
        "bytes": container.size,
        "sequence": _sequence(volume.frames) if volume.frames.is_sequence else None,
        "frame": {"number": volume.frame.number, "time": volume.time},
        "group": _group(volume) if volume.frames.is_sequence else None,
        "version": list(container.version),
        "generator": manifest.generator,
        "metadata": _metadata(volume.frame.metadata),
        "encoding": manifest.encoding,
        "field": field,
        "parts": container.bytes_by_type(),
        "chunks": [
            {
                "number": number,
                "type": entry.type,
                "critical": entry.critical,
                "compression": COMPRESSIONS.get(entry.compression, str(entry.compression)),
                "offset": entry.offset,
                "stored": entry.stored,
                "raw": entry.raw,
                "crc32": f"{entry.checksum:08x}",
            }
            for number, entry in enumerate(container.entries)
        ],
        "grids": [_describe_grid(grid) for grid in volume.grids],
        "passthrough": [dataclasses.asdict(entry) for entry in volume.passthrough],
    }


def _sequence(frames: Frames) -> dict[str, Any]:
    """Return what the index of a sequence says."""
    timeline = frames.timeline
    return {
        "file": frames.name,
        "bytes": frames.source.size,
        "frames": list(frames.numbers),
        "times": list(frames.times),
        "groups": [list(numbers) for numbers in frames.groups],
        "missing": frames.missing,
        "rate": None if timeline.rate is None else list(timeline.rate),
        "unit": timeline.unit,
        "start": timeline.start,
        "increment": timeline.increment,
        "loop": timeline.loop,
        "pattern": timeline.pattern,
        "metadata": _metadata(timeline.metadata),
    }


def _group(volume: Volume) -> dict[str, Any]:
    """Return what the manifest of a group says of every grid over its frames."""
    manifest, groups = volume.manifest, volume.frames.groups
    number = next(place for place, own in enumerate(groups) if volume.number in own)
    places = {own.number: place for place, own in enumerate(manifest.frames)}
    psnrs = manifest.encoding.get("psnr")
    grids: dict[tuple[str, int], dict[str, Any]] = {}
    for frame in groups[number]:
        seen = Counter[str]()
        for entry in (manifest.grids[own] for own in manifest.grids_of(places[frame])):
            found = grids.setdefault(
                (entry.name, seen[entry.name]), {"name": entry.name, "frames": []}
            )
            seen[entry.name] += 1
            found["frames"].append(
                {
                    "number": frame,
                    "active_voxels": entry.active_voxels,
                    "minimum": min(own.minimum for own in entry.components),
                    "maximum": max(own.maximum for own in entry.components),
                    "psnr": _psnrs_at(psnrs, [own.output for own in entry.components]),
                }
            )
    return {
        "number": number,
        "frames": list(groups[number]),
        "cut_off": sorted(set(places) - set(groups[number])),
        "grids": list(grids.values()),
    }


def _psnrs_at(psnrs: Any, outputs: Sequence[int | None]) -> list[float] | None:
    """Return what the encoder has told of the PSNR of some outputs; None where it has not.

    psnrs: of all outputs, as a stranger's file has it
    outputs: None stands for none
    """
    wanted = [output for output in outputs if output is not None]
    if not isinstance(psnrs, list) or max(wanted, default=0) >= len(psnrs):
        return None
    found = [psnrs[output] for output in wanted]
    return found if all(isinstance(psnr, (int, float)) for psnr in found) else None


def _describe_grid(grid: VolumeGrid) -> dict[str, Any]:
    """Return what the manifest and the tensors say of a grid. No mask and no value is decoded."""
    from inrv.storage.inspection import inspect_grid

    entry = grid.entry
    figures = inspect_grid(grid.volume.container, entry)
    matrix = [list(entry.matrix[row : row + 4]) for row in range(0, 16, 4)]
    topology_of = None
    if entry.topology_of is not None:
        topology_of = grid.volume.container.manifest.positions[entry.topology_of]
    return {
        "position": grid.position,
        "name": entry.name,
        "value_type": entry.value_type,
        "grid_class": entry.grid_class,
        "vector_type": entry.vector_type,
        "saved_as_half": entry.saved_as_half,
        "background": list(entry.background),
        "active_voxels": entry.active_voxels,
        "leaf_voxels": entry.leaf_voxels,
        "frequent_values": [list(value) for value in figures.frequent_values],
        "exact_values": figures.exact_values,
        "lossy_ratio": grid.lossy_ratio,
        "threshold": entry.threshold,
        "threshold_rule": None if entry.threshold is None else entry.threshold_rule,
        "topology_of": topology_of,
        "leaves": figures.leaves,
        "active_tiles": figures.active_tiles,
        "inactive_tiles": figures.inactive_tiles,
        "box": None if entry.box is None else _box(*entry.box),
        "transform": {
            "map_type": entry.map_type,
            "matrix": matrix,
            "voxel_size": [math.sqrt(sum(number**2 for number in row[:3])) for row in matrix[:3]],
        },
        "metadata": _metadata(entry.metadata),
        "normalisation": [
            {"minimum": c.minimum, "maximum": c.maximum, "output": c.output}
            for c in entry.components
        ],
        "chunks": {
            "topology": entry.topology,
            "inactive_values": entry.inactive_values,
            "frequent_values": entry.frequent_values,
            "exact_values": entry.exact_values,
            "outliers": entry.outliers,
        },
    }


def _box(lower: Sequence[int], upper: Sequence[int]) -> dict[str, list[int]]:
    shape = [high - low + 1 for low, high in zip(lower, upper, strict=True)]
    return {"lower": list(lower), "upper": list(upper), "shape": shape}


def _metadata(entries: dict[str, MetaEntry]) -> dict[str, Any]:
    return {key: {"type": entry.type, "value": entry.value} for key, entry in entries.items()}


def as_text(found: dict[str, Any]) -> str:
    """Return the text for what `describe` found, in the manner of vdb_print -l."""
    texts = {grid["position"]: _grid_text(grid) for grid in found["grids"]}
    texts |= {
        entry["position"]: _passthrough_text(entry, found["chunks"])
        for entry in found["passthrough"]
    }
    sections = [
        *([labelled(_sequence_rows(found), indent=0)] if found["sequence"] else []),
        labelled(_file_rows(found), indent=0),
        *([_group_table(found["group"])] if _has_many_frames(found) else []),
        *(texts[position] for position in sorted(texts)),
        _chunks_by_type(found) if _has_many_frames(found) else _chunk_table(found),
    ]
    return "\n\n".join(sections)


def _has_many_frames(found: dict[str, Any]) -> bool:
    """Return whether the bytes of the group are those of more frames than the one shown."""
    group = found["group"]
    return group is not None and len(group["frames"]) + len(group["cut_off"]) > 1


def _sequence_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return labels and texts on the sequence that the frame is of."""
    own, frame = found["sequence"], found["frame"]
    numbers, unit = own["frames"], own["unit"]
    held = f"{frames_from(numbers)}, in {counted(len(own['groups']), 'group')}"
    rows = [("sequence", f"{own['file']}, {size(own['bytes'])}"), ("holds", held)]
    if own["missing"]:
        rows.append(("missing", ranges(own["missing"])))
    if own["rate"]:
        above, below = own["rate"]
        rate = f"{above / below:.6g} frames a {'second' if unit == 's' else unit}"
        rows.append(("rate", rate if below == 1 else f"{rate}, {above}/{below}"))
    if own["loop"] != "none":
        rows.append(("loop", own["loop"]))
    if own["pattern"]:
        rows.append(("made of", own["pattern"]))
    rows += [(key, _metadata_text(entry)) for key, entry in own["metadata"].items()]
    time = "" if frame["time"] is None else f", at {frame['time']:.6g} {unit}"
    return [*rows, ("shown", f"frame {frame['number']}{time}")]


def _file_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return labels and texts on the whole file."""
    major, minor = found["version"]
    group = found["group"]
    name = "file" if group is None else f"group {group['number']}"
    rows = [(name, f"{found['file']}, {size(found['bytes'])}")]
    if group is not None and group["cut_off"]:
        rows.append(("cut off", f"{frames_named(group['cut_off'])}, whose bytes are still there"))
    rows += [
        ("format", f"inrv {major}.{minor}, written by {found['generator']}"),
    ]
    if found["field"]:
        rows.append(("field", found["field"].get("text", found["field"]["kind"])))
    left_out = {"options", "psnr"} if _has_many_frames(found) else {"options"}
    encoding = {key: value for key, value in found["encoding"].items() if key not in left_out}
    for label, values in (("options", found["encoding"].get("options")), ("encoding", encoding)):
        if values:
            rows.append((label, _plain(values)))
    return rows + [(key, _metadata_text(entry)) for key, entry in found["metadata"].items()]


def _group_table(group: dict[str, Any]) -> str:
    """Return the table of the grids over the frames of their group."""
    header = "over the frames of the group", "frames", "active voxels", "coded range", "PSNR dB"
    rows = []
    for position, grid in enumerate(group["grids"]):
        frames = grid["frames"]
        voxels = [frame["active_voxels"] for frame in frames]
        low = min(frame["minimum"] for frame in frames)
        high = max(frame["maximum"] for frame in frames)
        rows.append(
            (
                name_of(grid["name"], position),
                str(len(frames)),
                _from_to(f"{min(voxels):,}", f"{max(voxels):,}"),
                f"{low:.6g} -> {high:.6g}",
                _psnr_text([frame["psnr"] for frame in frames]),
            )
        )
    return table(header, rows)


def _psnr_text(psnrs: Sequence[list[float] | None]) -> str:
    """Return '45.01 to 45.07' for the components of a grid in each frame.

    A frame that has no component that is coded is exact.
    """
    known = [psnr for own in psnrs if own is not None for psnr in own]
    exact = sum(own == [] for own in psnrs)
    if not known:
        return "exact" if exact == len(psnrs) else "-"
    text = _from_to(decibels(min(known)), decibels(max(known)))
    return f"{text}, exact in {counted(exact, 'frame')}" if exact else text


def _from_to(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _grid_text(grid: dict[str, Any]) -> str:
    """Return the section on a coded grid."""
    rows = [
        *_type_rows(grid),
        *_topology_rows(grid),
        *_value_rows(grid),
        *_transform_rows(grid["transform"]),
    ]
    rows += [
        (key, _metadata_text(entry))
        for key, entry in grid["metadata"].items()
        if key not in SHOWN_AS_PROPERTIES
    ]
    return f"grid {grid['position']}: {name_of(grid['name'], grid['position'])}\n{labelled(rows)}"


def _type_rows(grid: dict[str, Any]) -> list[tuple[str, str]]:
    kind = [grid["value_type"], grid["grid_class"]]
    if grid["value_type"] == "vec3s":
        kind.append(grid["vector_type"])
    if grid["saved_as_half"]:
        kind.append("saved as half")
    return [("type", ", ".join(kind)), ("background", _plain(grid["background"]))]


def _topology_rows(grid: dict[str, Any]) -> list[tuple[str, str]]:
    """Return labels and texts on the active voxels of a grid."""
    voxels, in_leaves = f"{grid['active_voxels']:,}", f"{grid['leaf_voxels']:,}"
    rows = [
        ("active voxels", f"{voxels}, {in_leaves} of them in {grid['leaves']:,} leaves"),
        ("tiles", f"{grid['active_tiles']:,} active, {grid['inactive_tiles']:,} inactive"),
    ]
    if grid["threshold"] is not None:
        activity = ACTIVITIES[grid["threshold_rule"]]
        rule = f"a voxel is active where {activity} is above {grid['threshold']:.6g}"
        rows.append(("topology", f"by threshold: {rule}"))
    if grid["topology_of"] is not None:
        rows.append(("topology", f"the one that grid {grid['topology_of']} is decoded to"))
    if grid["box"]:
        shape = grid["box"]["shape"]
        corners = f"{_plain(grid['box']['lower'])} -> {_plain(grid['box']['upper'])}"
        filled = grid["active_voxels"] / math.prod(shape)
        rows.append(
            ("active box", f"{corners}, {' x '.join(map(str, shape))}, {filled:.1%} active")
        )
    return rows


def _value_rows(grid: dict[str, Any]) -> list[tuple[str, str]]:
    """Return labels and texts on the values of a grid."""
    rows = []
    if grid["frequent_values"]:
        values = ", ".join(
            _plain(value[0] if len(value) == 1 else value) for value in grid["frequent_values"]
        )
        rows.append(
            ("frequent values", f"{values}: the voxels with these values keep them exactly")
        )
    if grid["exact_values"]:
        voxels = f"{grid['exact_values']:,} other active voxels"
        rows.append(("exact values", f"{voxels} are stored exactly, beside the field"))
    if grid["lossy_ratio"] is not None:
        rows.append(("lossy", f"a scan from DICOM, with a loss, {grid['lossy_ratio']:.1f}:1"))
    ranges = ", ".join(_range(component) for component in grid["normalisation"])
    return [*rows, ("coded range", ranges)]


def _range(component: dict[str, Any]) -> str:
    low, high = f"{component['minimum']:.6g}", f"{component['maximum']:.6g}"
    if component["output"] is None:
        return f"always {low}"
    return f"{low} -> {high} (output {component['output']})"


def _transform_rows(transform: dict[str, Any]) -> list[tuple[str, str]]:
    sizes = [f"{edge:.6g}" for edge in transform["voxel_size"]]
    voxel = sizes[0] if len(set(sizes)) == 1 else " x ".join(sizes)
    rows = [("transform", f"{transform['map_type']}, voxel size {voxel}")]
    labels = ["  index to world", "", "", ""]
    return rows + [
        (label, _plain(values)) for label, values in zip(labels, transform["matrix"], strict=True)
    ]


def _passthrough_text(entry: dict[str, Any], chunks: list[dict[str, Any]]) -> str:
    """Return the section on a passthrough grid."""
    stored = sum(chunks[number]["stored"] for number in entry["chunks"])
    rows = [
        ("type", f"{entry['tree_type']}{', saved as half' if entry['half'] else ''}"),
        ("coded", f"no, passed through: {entry['reason']}"),
        ("bytes", f"{entry['bytes']:,} in the .vdb file, {stored:,} here"),
    ]
    if entry["parent"] is not None:
        rows.append(("tree", f"shared with grid {entry['parent']}"))
    name = name_of(entry["name"], entry["position"])
    return f"grid {entry['position']}: {name}\n{labelled(rows)}"


def _chunk_table(found: dict[str, Any]) -> str:
    """Return the table of the chunks, the header and the manifest."""
    rows = [
        (
            f"{chunk['number']} {chunk['type']} {PARTS.get(chunk['type'], '')}".rstrip(),
            f"{chunk['stored']:,}",
            f"{chunk['raw']:,}",
            chunk["compression"],
            f"{chunk['stored'] / found['bytes']:.1%}",
        )
        for chunk in found["chunks"]
    ]
    rows += [(name, f"{stored:,}", "", "", share) for name, stored, share in _other_parts(found)]
    return table(("chunk", "stored", "raw", "compression", "of file"), rows)


def _chunks_by_type(found: dict[str, Any]) -> str:
    """Return the table of the chunks of a group, a line for each type."""
    types: dict[str, list[dict[str, Any]]] = {}
    for chunk in found["chunks"]:
        types.setdefault(chunk["type"], []).append(chunk)
    rows = []
    for kind, chunks in types.items():
        stored, raw = (sum(chunk[key] for chunk in chunks) for key in ("stored", "raw"))
        share = f"{stored / found['bytes']:.1%}"
        name = f"{kind} {PARTS.get(kind, '')}".rstrip()
        rows.append((name, f"{len(chunks):,}", f"{stored:,}", f"{raw:,}", share))
    rows += [(name, "", f"{stored:,}", "", share) for name, stored, share in _other_parts(found)]
    return table(("part of the group", "chunks", "stored", "raw", "of group"), rows)


def _other_parts(found: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Return name, bytes and share of the parts that are no chunks."""
    parts = ((name, found["parts"][name]) for name in ("header", "manifest"))
    return [(name, stored, f"{stored / found['bytes']:.1%}") for name, stored in parts]


def _metadata_text(entry: dict[str, Any]) -> str:
    return f"{_plain(entry['value'])} ({entry['type']})"


def _plain(value: Any) -> str:
    """Return a value of JSON as text without quotes."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
