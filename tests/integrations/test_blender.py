"""The extension in Blender, where its module `bpy` is installed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import inrv

bpy = pytest.importorskip("bpy")

ROOT = Path(__file__).resolve().parents[2]
FIRE = ROOT / "fixtures" / "fire.vdb"
INSTANT = inrv.EncodeOptions(effort="instant")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fire.inrv, and run.inrv with the frames 60, 61 and 63 of it."""
    folder = tmp_path_factory.mktemp("files")
    inrv.encode(FIRE, folder / "fire.inrv", INSTANT)
    with inrv.SequenceWriter(folder / "run.inrv", INSTANT, fps=24, loop="repeat") as writer:
        for number in (60, 61, 63):
            writer.add(None, FIRE, number=number)
    return folder


@pytest.fixture
def addon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The extension, on in a new scene."""
    monkeypatch.syspath_prepend(str(ROOT / "integrations" / "blender"))
    package = importlib.import_module("inrv_volumes")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package.register()
    yield importlib.import_module("inrv_volumes.addon")
    package.unregister()


def imported(path: Path, **settings: Any) -> Any:
    assert bpy.ops.object.inrv_import(filepath=str(path), **settings) == {"FINISHED"}
    return bpy.context.object.data


def names(volume: Any) -> list[str]:
    """The grids of a Volume, as Blender reads them from its file."""
    assert volume.grids.load(), volume.grids.error_message
    return sorted(grid.name for grid in volume.grids)


def rendered(folder: Path, name: str) -> np.ndarray:
    """A picture of the chosen Volume, with 64 samples a pixel."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = (0.0, -5.0, 1.3), (np.pi / 2, 0.0, 0.0)
    light = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    light.data.energy, light.rotation_euler = 60.0, (0.7, 0.7, 0.0)
    smoke = bpy.data.materials.new("smoke")
    if bpy.app.version < (5, 0):
        smoke.use_nodes = True
    smoke.node_tree.nodes.clear()
    shader = smoke.node_tree.nodes.new("ShaderNodeVolumePrincipled")
    shader.inputs["Density"].default_value = 10.0
    output = smoke.node_tree.nodes.new("ShaderNodeOutputMaterial")
    smoke.node_tree.links.new(shader.outputs["Volume"], output.inputs["Volume"])
    bpy.context.object.data.materials.clear()
    bpy.context.object.data.materials.append(smoke)
    for thing in (camera, light):
        scene.collection.objects.link(thing)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 64, "CPU"
    scene.cycles.use_denoising, scene.cycles.seed = False, 0
    scene.render.resolution_x, scene.render.resolution_y = 24, 32
    scene.render.resolution_percentage = 100
    scene.render.filepath = str(folder / name)
    bpy.ops.render.render(write_still=True)
    for thing in (camera, light):
        bpy.data.objects.remove(thing)
    picture = bpy.data.images.load(str(folder / name))
    return np.array(picture.pixels[:]).reshape(32, 24, 4)


@pytest.mark.usefixtures("addon")
def test_a_file_becomes_a_volume(files: Path) -> None:
    volume = imported(files / "fire.inrv")
    assert names(volume) == ["density", "temperature"]
    assert bpy.context.object.type == "VOLUME" and volume.name == "fire"


def test_the_right_frame_is_shown_at_every_frame(addon: Any, files: Path) -> None:
    volume, scene = imported(files / "run.inrv"), bpy.context.scene
    for frame, shown in ((60, 60), (62, 61), (63, 63), (64, 60), (59, 63)):
        scene.frame_set(frame)
        assert Path(volume.filepath).name.split(".")[2] == f"{shown:04}"
        assert names(volume) == ["density", "temperature"]
    volume.inrv.offset = 1
    assert ".0060." in volume.filepath
    volume.inrv.mode = "CLIP"
    scene.frame_set(10)
    assert volume.filepath == ""
    assert addon.session.prefetcher.wait() and addon.session.prefetcher.errors == {}


def test_frames_are_decoded_ahead_and_purged(addon: Any, files: Path) -> None:
    volume = imported(files / "run.inrv")
    bpy.context.scene.frame_set(60)
    assert addon.session.prefetcher.wait()
    assert len(addon.session.cache.files()) >= 3
    bpy.ops.wm.inrv_purge()
    assert addon.session.cache.files() == [Path(volume.filepath)]


def test_the_viewport_has_a_level_and_a_render_all_voxels(
    addon: Any, files: Path, tmp_path: Path
) -> None:
    volume = imported(files / "fire.inrv", level=3)
    assert ".lod3." in volume.filepath
    coarse = rendered(tmp_path, "coarse.png")
    assert ".lod3." in volume.filepath and not addon.session.rendering
    volume.inrv.level = 0
    fine = rendered(tmp_path, "fine.png")
    assert np.array_equal(coarse, fine)


@pytest.mark.usefixtures("addon")
def test_a_picture_is_that_of_the_original(files: Path, tmp_path: Path) -> None:
    volume = imported(files / "fire.inrv")
    decoded = rendered(tmp_path, "decoded.png")
    volume.inrv.source, volume.filepath = "", str(FIRE)
    original = rendered(tmp_path, "original.png")
    # There is something to see, and single pixels have the noise of their samples.
    assert original[..., :3].std() > 0.02
    assert np.sqrt(np.square(decoded - original).mean()) < original[..., :3].std() / 5
    assert abs(decoded.mean() - original.mean()) < original[..., :3].mean() / 20


@pytest.mark.usefixtures("addon")
def test_a_scene_that_is_opened_again_shows_its_files(files: Path, tmp_path: Path) -> None:
    imported(files / "run.inrv")
    bpy.context.scene.frame_set(61)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.inrv_purge()
    before = Path(bpy.path.abspath(bpy.data.volumes["run"].filepath)).resolve()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    before.unlink(missing_ok=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    volume = bpy.data.volumes["run"]
    assert Path(volume.filepath).is_file() and names(volume) == ["density", "temperature"]


def test_errors_are_reports_of_one_line(addon: Any, files: Path, tmp_path: Path) -> None:
    (tmp_path / "half.inrv").write_bytes((files / "fire.inrv").read_bytes()[:-5])
    for path, message in (
        (FIRE, "is a .vdb file, not an .inrv file: encode it first"),
        (tmp_path / "half.inrv", "truncated"),
        (tmp_path / "missing.inrv", "No such file"),
    ):
        with pytest.raises(RuntimeError, match=message) as told:
            bpy.ops.object.inrv_import(filepath=str(path))
        assert str(told.value).strip().count("\n") == 0
    assert not bpy.data.volumes
    volume = imported(files / "fire.inrv")
    volume.inrv.source = str(tmp_path / "missing.inrv")
    assert "No such file" in volume.inrv.error and volume.filepath == ""
    volume.inrv.source = str(files / "fire.inrv")
    assert volume.inrv.error == "" and Path(volume.filepath).is_file()


def test_several_files_are_imported_at_once(addon: Any, files: Path) -> None:
    given = [{"name": "fire.inrv"}, {"name": "run.inrv"}]
    assert bpy.ops.object.inrv_import(directory=str(files), files=given) == {"FINISHED"}
    assert {volume.name for volume in bpy.data.volumes} == {"fire", "run"}
    # A drop gives the operator the same, by `invoke`.
    assert bpy.ops.object.inrv_import("INVOKE_DEFAULT", directory=str(files), files=given[:1])
    assert {volume.name for volume in bpy.data.volumes} == {"fire", "fire.001", "run"}
    assert addon.DropInrv.bl_import_operator == "object.inrv_import"
    assert addon.DropInrv.bl_file_extensions == ".inrv"


def test_blender_itself_finds_nothing_wrong_with_the_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    build: ModuleType = importlib.import_module("build_blender")
    wheel = tmp_path / "inrv-0.1.0-py3-none-win_amd64.whl"
    wheel.write_bytes(b"wheel")
    archive = build.pack("windows-x64", "0.1.0", [wheel], tmp_path / "out")
    scripts = Path(bpy.utils.resource_path("LOCAL"), "scripts")
    tool = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    done = subprocess.run(
        [sys.executable, str(tool), "validate", str(archive)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
