"""What another OpenVDB finds in a .vdb file, as JSON: `python benchmarks/referee.py CODED
FILE.vdb`.

`lossless.py` runs this script with an interpreter that has the module `openvdb`; it therefore
imports nothing of inrv. CODED lists the positions of grids whose values are not to be told, as
'0,2'.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

UNTOLD = ("file_mem_bytes", "file_compression", "file_delayed_load")  # the writer's affair


def main() -> None:
    """Print one line of JSON."""
    coded = {int(number) for number in sys.argv[1].split(",") if number}
    module = bindings()
    try:
        grids, metadata = read(module, sys.argv[2])
    except Exception as error:
        print(json.dumps({"error": str(error).replace(sys.argv[2], "")}))
        return
    told = [describe(grid, position in coded) for position, grid in enumerate(grids)]
    print(json.dumps({"metadata": texts(metadata), "grids": sorted(told, key=json.dumps)}))


def read(module: Any, path: str) -> tuple[list[Any], dict[str, Any]]:
    """Return all grids and the file's metadata.

    The metadata are empty where the bindings lack a type in them, and readAll would abort.
    """
    try:
        module.readMetadata(path)
    except RuntimeError:
        return [module.read(path, grid.name) for grid in module.readAllGridMetadata(path)], {}
    grids, metadata = module.readAll(path)
    return grids, metadata


def bindings() -> Any:
    """The module openvdb, Blender's where there is no other."""
    try:
        import openvdb
    except ImportError:
        import bpy

        bpy.utils.expose_bundled_modules()
        import openvdb
    return openvdb


def describe(grid: Any, coded: bool) -> dict[str, Any]:
    """Return name, type, header and counts of a grid, and a digest of its values if not coded."""
    corners = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (7, -3, 100))
    told = {
        "name": grid.name,
        "type": type(grid).__name__,
        "class": str(grid.gridClass),
        "map": grid.transform.typeName,
        "world": [grid.transform.indexToWorld(corner) for corner in corners],
        "metadata": texts(grid.metadata),
        "active": grid.activeVoxelCount(),
        "leaves": grid.leafCount(),
    }
    if hasattr(grid, "background"):
        told["background"] = repr(grid.background)
    if not coded and hasattr(grid, "citerAllValues"):
        told["values"] = digest(grid)
    return told


def digest(grid: Any) -> str:
    """Of every value, active or not, voxel or tile, where it stands."""
    found = hashlib.sha256()
    for item in grid.citerAllValues():
        found.update(repr((item.min, item.max, item.depth, item.active, item.value)).encode())
    return found.hexdigest()


def texts(metadata: dict[str, Any]) -> dict[str, str]:
    """Metadata as text, NaN equal to itself."""
    return {key: repr(value) for key, value in sorted(metadata.items()) if key not in UNTOLD}


if __name__ == "__main__":
    main()
