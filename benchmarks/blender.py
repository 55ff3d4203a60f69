"""The fire of the fixtures in Blender: `python -m benchmarks.blender`; takes about five minutes.

It needs the module `bpy` (`pip install bpy`), and what decodes .inrv files. The extension imports
the fire from .inrv files of several qualities, and Cycles renders each with 64 samples on the CPU.
Each picture is compared with that of the original .vdb file, and so is one of the original with
another seed, whose noise tells what differences mean. Times are those of a sequence of eight
frames, each moved by twelve voxels and fainter than the one before.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np

import inrv
from benchmarks.report import RESULTS, ROOT, save, table
from inrv import files

FIRE = ROOT / "fixtures" / "fire.vdb"
HEADER = ["shown", "bytes", "PSNR of the picture", "largest difference"]
QUALITIES: dict[str, dict[str, Any]] = {
    "45 dB, the default": {},
    "35 dB": {"psnr": 35.0},
    "error <= 1 %": {"max_error": "1%"},
}
FRAMES = 8


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=240, help="pixels (default %(default)s)")
    parser.add_argument("--samples", type=int, default=64, help="a pixel (default %(default)s)")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "integrations" / "blender"))
    with tempfile.TemporaryDirectory() as place, extension():
        prepare(chosen.width, chosen.samples)
        rows = pictures(Path(place))
        times = seconds(Path(place))
    where = f"{platform.machine()} CPU, {os.cpu_count()} cores, Blender {bpy.app.version_string}, "
    where += f"{datetime.date.today().isoformat()}"
    text = f"# The fire in Blender\n\n{where}, {chosen.samples} samples.\n\n{table(HEADER, rows)}\n"
    text += table(["a sequence of the fire", "seconds"], times)
    save("blender", text, {"environment": where, "rows": rows, "times": times})


@contextmanager
def extension() -> Iterator[None]:
    """The extension, on in an empty scene."""
    import inrv_volumes

    bpy.ops.wm.read_factory_settings(use_empty=True)
    inrv_volumes.register()
    yield
    inrv_volumes.unregister()


def prepare(width: int, samples: int) -> None:
    """Make camera, light and the settings of the render."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = (0.0, -5.2, 1.25), (math.pi / 2, 0.0, 0.0)
    light = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    light.data.energy, light.rotation_euler = 12.0, (0.9, 0.6, 0.0)
    for thing in (camera, light):
        scene.collection.objects.link(thing)
    scene.camera = camera
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", samples
    scene.cycles.use_denoising, scene.cycles.seed = False, 0
    scene.render.resolution_x, scene.render.resolution_y = width, width * 4 // 3
    scene.view_settings.view_transform = "Standard"


def flame() -> Any:
    """Make a material of smoke, whose temperature glows."""
    made = bpy.data.materials.new("flame")
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    shader = nodes.new("ShaderNodeVolumePrincipled")
    shader.inputs["Density"].default_value = 14.0
    heat = nodes.new("ShaderNodeAttribute")
    heat.attribute_name = "temperature"
    ramp = nodes.new("ShaderNodeMath")
    ramp.operation = "MULTIPLY"
    ramp.inputs[1].default_value = 6.0
    links.new(heat.outputs["Fac"], ramp.inputs[0])
    links.new(ramp.outputs["Value"], shader.inputs["Emission Strength"])
    shader.inputs["Emission Color"].default_value = (1.0, 0.25, 0.03, 1.0)
    output = nodes.new("ShaderNodeOutputMaterial")
    links.new(shader.outputs["Volume"], output.inputs["Volume"])
    return made


def pictures(folder: Path) -> list[list[str]]:
    """Render the original and each quality, and compare them; two pictures are kept."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    volume = bpy.data.volumes.new("original")
    volume.filepath = str(FIRE)
    thing = bpy.data.objects.new("original", volume)
    bpy.context.collection.objects.link(thing)
    material = flame()
    volume.materials.append(material)
    original = rendered(RESULTS / "blender_original.png")
    rows = [["the original", f"{FIRE.stat().st_size:,}", "", ""]]
    bpy.context.scene.cycles.seed = 1
    rows.append(row("the original, another seed", None, original, rendered(folder / "seed.png")))
    bpy.context.scene.cycles.seed = 0
    bpy.data.objects.remove(thing)
    for number, (name, options) in enumerate(QUALITIES.items()):
        path = folder / f"fire-{number}.inrv"
        inrv.encode(FIRE, path, inrv.EncodeOptions(effort="instant", **options))
        kept = RESULTS / "blender_inrv.png" if not number else folder / "quality.png"
        rows.append(row(name, path, original, rendered_from(path, kept, material)))
    return rows


def rendered_from(path: Path, target: Path, material: Any) -> np.ndarray:
    """Import an .inrv file, render it, and remove it again."""
    bpy.ops.object.inrv_import(filepath=str(path), level=2)  # renders take all voxels
    thing = bpy.context.object
    thing.data.materials.append(material)
    found = rendered(target)
    bpy.data.volumes.remove(thing.data)
    return found


def rendered(target: Path) -> np.ndarray:
    """Render the scene into a file, and give its pixels (height, width, 3), 0 to 1."""
    scene = bpy.context.scene
    scene.render.filepath = str(target)
    bpy.ops.render.render(write_still=True)
    picture = bpy.data.images.load(str(target))
    pixels = np.array(picture.pixels[:], dtype=np.float64)
    width, height = picture.size
    bpy.data.images.remove(picture)
    return pixels.reshape(height, width, 4)[..., :3]


def row(name: str, path: Path | None, wanted: np.ndarray, found: np.ndarray) -> list[str]:
    """Compare two pictures."""
    error = np.abs(found - wanted)
    psnr = -10 * math.log10(max(float(np.square(error).mean()), 1e-12))
    size = "" if path is None else f"{path.stat().st_size:,}"
    return [name, size, f"{psnr:.2f} dB", f"{error.max() * 255:.0f} of 255"]


def seconds(folder: Path) -> list[list[str]]:
    """Measure a sequence: import, frames that are there, frames that are not."""
    from inrv_volumes import addon

    with inrv.SequenceWriter(
        folder / "run.inrv", inrv.EncodeOptions(effort="instant"), fps=24, start=1
    ) as writer:
        for grids in moved(files.read(FIRE)):
            writer.add(None, grids)
    scene = bpy.context.scene
    scene.frame_set(1)

    def timed(work: Any) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    rows = [["import, first frame shown", timed(lambda: imported(folder / "run.inrv"))]]
    rows.append(["all frames decoded ahead", timed(addon.session.prefetcher.wait)])
    there = [timed(lambda number=number: scene.frame_set(number)) for number in range(2, FRAMES)]
    rows.append(["change to a frame that is decoded", max(there)])
    bpy.ops.wm.inrv_purge()
    jump = timed(lambda: scene.frame_set(FRAMES))
    rows.append(["change to a frame that is not", jump])
    return [[name, f"{value:.3f}"] for name, value in rows]


def moved(volume: inrv.SparseVolume) -> Iterator[list[inrv.Grid]]:
    """Give a fire that sinks and grows faint, frame by frame."""
    for number in range(FRAMES):
        grids = []
        for grid in volume.grids:
            box = grid.topology.box
            assert box is not None
            values = grid.dense(box)[..., 0] * np.float32(0.95**number)
            values[:, :, : -12 * number or None] = values[:, :, 12 * number :]
            grids.append(inrv.sparse_grid(values, grid.name, grid.transform))
        yield grids


def imported(path: Path) -> None:
    """Import a file."""
    bpy.ops.object.inrv_import(filepath=str(path))


if __name__ == "__main__":
    main()
