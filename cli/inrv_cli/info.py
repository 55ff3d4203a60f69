"""`inrv info`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import debug_option
from inrv_cli.files import check_input, read_input
from inrv_cli.limits import limits_option
from inrv_cli.text import PARTS, labelled, name_of, print_json, size, table

if TYPE_CHECKING:
    from inrv import Limits, Volume, VolumeGrid
    from inrv.container import MetaEntry

COMPRESSIONS = {0: "none", 1: "zstd"}
SCORES = {
    "above": "the decoded value",
    "away": "the distance of the decoded value from the background",
    "within": "the background less the size of the decoded value",
}


@click.command(short_help="What an .inrv file holds: grids, transforms, network, bytes.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@limits_option
@debug_option
def info(file: Path, as_json: bool, limits: Limits) -> None:
    """Show what an .inrv file, '-' for stdin, holds: grids, topology, transforms, metadata, network, bytes."""
    check_input(file)
    import inrv

    found = describe(inrv.load(read_input(file), "cpu", limits))
    if as_json:
        print_json(found)
    else:
        click.echo(as_text(found))


def describe(volume: Volume) -> dict[str, Any]:
    """Everything `info` tells, ready for JSON."""
    manifest, container = volume.manifest, volume.container
    field = None
    if manifest.field is not None:
        entry = manifest.field
        field = {"kind": entry.kind, "outputs": entry.outputs, "config": entry.config}
        field |= {} if volume.codec is None else volume.codec.describe(container)
    return {
        "file": container.name,
        "bytes": container.size,
        "version": list(container.version),
        "generator": manifest.generator,
        "metadata": _metadata(manifest.metadata),
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
        "grids": [_grid(grid) for grid in volume.grids],
        "passthrough": [dataclasses.asdict(entry) for entry in volume.passthrough],
    }


def _grid(grid: VolumeGrid) -> dict[str, Any]:
    """What the manifest and the tensors of a grid say; no mask and no value is decoded for it."""
    from inrv.storage import inspect_grid

    entry = grid.entry
    figures = inspect_grid(grid.volume.container, entry)
    matrix = [list(entry.matrix[row : row + 4]) for row in range(0, 16, 4)]
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
        "threshold": entry.threshold,
        "threshold_rule": None if entry.threshold is None else entry.threshold_rule,
        "topology_of": None
        if entry.topology_of is None
        else grid.volume.grids[entry.topology_of].position,
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


TOLD_BEFORE = {
    "name",
    "class",
    "vector_type",
    "is_saved_as_half_float",
}  # metadata that are properties of the grid too


def _metadata(entries: dict[str, MetaEntry]) -> dict[str, Any]:
    return {key: {"type": entry.type, "value": entry.value} for key, entry in entries.items()}


def as_text(found: dict[str, Any]) -> str:
    """The description in the manner of vdb_print -l."""
    rows = [
        ("file", f"{found['file']}, {size(found['bytes'])}"),
        (
            "format",
            f"inrv {found['version'][0]}.{found['version'][1]}, written by {found['generator']}",
        ),
    ]
    if found["field"]:
        rows.append(("field", found["field"].get("text", found["field"]["kind"])))
    encoding = {key: value for key, value in found["encoding"].items() if key != "options"}
    for label, values in (("options", found["encoding"].get("options")), ("training", encoding)):
        if values:
            rows.append((label, _plain(values)))
    rows += [(key, _value(entry)) for key, entry in found["metadata"].items()]
    texts = {grid["position"]: _grid_text(grid) for grid in found["grids"]}
    texts |= {
        entry["position"]: _passthrough_text(entry, found["chunks"])
        for entry in found["passthrough"]
    }
    sections = [
        labelled(rows, indent=0),
        *(texts[position] for position in sorted(texts)),
        _chunk_table(found),
    ]
    return "\n\n".join(sections)


def _grid_text(grid: dict[str, Any]) -> str:
    kind = [grid["value_type"], grid["grid_class"]]
    kind += [grid["vector_type"]] * (grid["value_type"] == "vec3s") + ["saved as half"] * grid[
        "saved_as_half"
    ]
    rows = [
        ("type", ", ".join(kind)),
        ("background", _plain(grid["background"])),
        (
            "active voxels",
            f"{grid['active_voxels']:,}, {grid['leaf_voxels']:,} of them in {grid['leaves']:,} leaves",
        ),
        ("tiles", f"{grid['active_tiles']:,} active, {grid['inactive_tiles']:,} inactive"),
    ]
    if grid["threshold"] is not None:
        rows.append(
            (
                "topology",
                f"by threshold: active where {SCORES[grid['threshold_rule']]} is above {grid['threshold']:.6g}",
            )
        )
    if grid["topology_of"] is not None:
        rows.append(("topology", f"that to which grid {grid['topology_of']} is decoded"))
    if grid["frequent_values"]:
        values = ", ".join(
            _plain(value[0] if len(value) == 1 else value) for value in grid["frequent_values"]
        )
        rows.append(
            ("frequent", f"{values}: the voxels that have these values get them back exactly")
        )
    if grid["exact_values"]:
        rows.append(
            (
                "exact values",
                f"{grid['exact_values']:,} other active voxels stored exactly, beside the field",
            )
        )
    if grid["box"]:
        shape = grid["box"]["shape"]
        filled = grid["active_voxels"] / (shape[0] * shape[1] * shape[2])
        box = f"{_plain(grid['box']['lower'])} -> {_plain(grid['box']['upper'])}"
        rows.append(
            ("active box", f"{box}, {shape[0]} x {shape[1]} x {shape[2]}, {filled:.1%} active")
        )
    rows.append(
        ("range coded", ", ".join(_range(component) for component in grid["normalisation"]))
    )
    sizes = [f"{edge:.6g}" for edge in grid["transform"]["voxel_size"]]
    rows.append(
        (
            "transform",
            f"{grid['transform']['map_type']}, voxel size {sizes[0] if len(set(sizes)) == 1 else ' x '.join(sizes)}",
        )
    )
    rows += [
        ("  index to world" * (row == 0), _plain(values))
        for row, values in enumerate(grid["transform"]["matrix"])
    ]
    rows += [
        (key, _value(entry)) for key, entry in grid["metadata"].items() if key not in TOLD_BEFORE
    ]
    return f"grid {grid['position']}: {name_of(grid['name'], grid['position'])}\n{labelled(rows)}"


def _passthrough_text(entry: dict[str, Any], chunks: list[dict[str, Any]]) -> str:
    stored = sum(chunks[number]["stored"] for number in entry["chunks"])
    rows = [
        ("type", f"{entry['tree_type']}{', saved as half' * entry['half']}"),
        ("coded", f"no, passed through: {entry['reason']}"),
        ("bytes", f"{entry['bytes']:,} in the .vdb, {stored:,} here"),
    ]
    if entry["parent"] is not None:
        rows.append(("tree", f"shared with grid {entry['parent']}"))
    return (
        f"grid {entry['position']}: {name_of(entry['name'], entry['position'])}\n{labelled(rows)}"
    )


def _range(component: dict[str, Any]) -> str:
    if component["output"] is None:
        return f"always {component['minimum']:.6g}"
    return (
        f"{component['minimum']:.6g} -> {component['maximum']:.6g} (output {component['output']})"
    )


def _chunk_table(found: dict[str, Any]) -> str:
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
    rows += [
        (name, f"{found['parts'][name]:,}", "", "", f"{found['parts'][name] / found['bytes']:.1%}")
        for name in ("header", "manifest")
    ]
    return table(("chunk", "stored", "raw", "compression", "of file"), rows)


def _value(entry: dict[str, Any]) -> str:
    return f"{_plain(entry['value'])} ({entry['type']})"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
