"""Bake smoke, fire and water with Blender's own solver, Mantaflow, for the networks to learn from.

`blender -b --python blender_runs.py -- [FOLDER]` with Blender 3.4, which needs no display. The
`bpy` of PyPI does not do: its Mantaflow stops with an error. FOLDER is build/training/blender
unless another is given. Each frame is a SCENE-FRAME.vdb there, and one of finer densities and
flames, SCENE-FRAME-noise.vdb, where the scene has an up-res. All of it takes about five minutes of
one core. volumes/blender.py reads the files.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy


@dataclass(frozen=True)
class Scene:
    """What is baked.

    name: of the files
    kind: of fluid: SMOKE, FIRE, BOTH (which are gases) or LIQUID
    resolution: of the domain's longest edge, in cells
    emitters: place and radius of each ball that the fluid comes from
    frames: that are kept; the last is the end of the bake
    size: of the domain's edges, which begin at the floor
    noise: how much finer an up-res is, or 0
    depth: of the numbers in the file: '16' (half) or '32' (float)
    obstacle: place and radius of a ball in the way, or none
    options: of the domain, as Blender names them
    """

    name: str
    kind: str
    resolution: int
    emitters: tuple[tuple[float, float, float, float], ...]
    frames: tuple[int, ...]
    size: tuple[float, float, float] = (2.0, 2.0, 3.0)
    noise: int = 0
    depth: str = "32"
    obstacle: tuple[float, float, float, float] | None = None
    options: dict[str, Any] = field(default_factory=dict)


SCENES = (
    Scene(
        "smoke",
        "SMOKE",
        80,
        ((0, 0, 0.4, 0.3),),
        (20, 45),
        options={"vorticity": 0.2, "use_adaptive_domain": False},
    ),
    Scene(
        "column",
        "SMOKE",
        64,
        ((0.3, 0.2, 0.3, 0.22), (-0.4, -0.1, 0.3, 0.16)),
        (40,),
        noise=2,
        depth="16",
        obstacle=(0.1, 0.0, 1.4, 0.35),
        options={"beta": 1.5, "noise_strength": 2.0, "use_dissolve_smoke": True},
    ),
    Scene(
        "dense",
        "SMOKE",
        96,
        ((0, 0.2, 0.5, 0.4),),
        (30,),
        depth="16",
        options={"alpha": 2.0, "vorticity": 0.05, "use_dissolve_smoke": True},
    ),
    Scene(
        "fire",
        "FIRE",
        96,
        ((0, 0, 0.35, 0.4),),
        (24, 40),
        options={"burning_rate": 0.7, "flame_vorticity": 0.6},
    ),
    Scene(
        "bonfire",
        "BOTH",
        64,
        ((0.25, 0, 0.3, 0.25), (-0.3, 0.2, 0.3, 0.25), (0, -0.4, 0.3, 0.2)),
        (36,),
        noise=2,
        options={"burning_rate": 0.5, "flame_smoke": 1.5, "flame_vorticity": 0.4},
    ),
    Scene("drop", "LIQUID", 80, ((0, 0, 2.0, 0.5),), (14, 26)),
    Scene("splash", "LIQUID", 64, ((0.3, 0.2, 1.0, 0.4), (-0.4, 0, 1.8, 0.35)), (18,), depth="16"),
)


def main() -> None:
    """Bake every scene that is not there yet."""
    own = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    folder = Path(own[0] if own else "build/training/blender")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for scene in SCENES:
        if not any(folder.glob(f"{scene.name}-*.vdb")):
            bake(scene, folder)


def bake(scene: Scene, folder: Path) -> None:
    """Bake a scene, and keep some of its frames."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.frame_end = max(scene.frames)
    with tempfile.TemporaryDirectory() as cache:
        os.chdir(cache)  # The solver leaves a tile of noise in the present folder.
        for place in scene.emitters:
            _emitter(scene, place)
        if scene.obstacle is not None:
            _ball(scene.obstacle)
            _fluid("EFFECTOR").effector_settings.effector_type = "COLLISION"
        # The domain comes last: Blender runs the solver anew at each change after it.
        _domain(scene, cache)
        bpy.ops.fluid.bake_all()
        for part, suffix in (("data", ""), ("noise", "-noise")):
            for frame in scene.frames:
                source = Path(cache) / part / f"fluid_{part}_{frame:04}.vdb"
                if source.exists():
                    shutil.copy(source, folder / f"{scene.name}-{frame}{suffix}.vdb")


def _domain(scene: Scene, cache: str) -> None:
    width, depth, height = scene.size
    bpy.ops.mesh.primitive_cube_add(size=1, location=(0, 0, height / 2))
    domain = bpy.context.object
    domain.scale = width, depth, height
    bpy.ops.object.transform_apply(scale=True)
    settings = _fluid("DOMAIN").domain_settings
    liquid = scene.kind == "LIQUID"
    settings.domain_type = "LIQUID" if liquid else "GAS"
    settings.resolution_max = scene.resolution
    settings.cache_directory = cache
    settings.cache_type = "ALL"
    settings.cache_frame_end = max(scene.frames)
    settings.cache_data_format = "OPENVDB"
    settings.openvdb_data_depth = scene.depth
    settings.cache_resumable = liquid  # Otherwise a liquid's level set is not written.
    settings.use_noise = scene.noise > 0
    if scene.noise:
        settings.noise_scale = scene.noise
    for name, value in scene.options.items():
        setattr(settings, name, value)


def _emitter(scene: Scene, place: tuple[float, float, float, float]) -> None:
    _ball(place)
    flow = _fluid("FLOW").flow_settings
    flow.flow_type = scene.kind
    flow.flow_behavior = "GEOMETRY" if scene.kind == "LIQUID" else "INFLOW"
    flow.temperature = 1.2


def _ball(place: tuple[float, float, float, float]) -> None:
    x, y, z, radius = place
    bpy.ops.mesh.primitive_uv_sphere_add(radius=radius, location=(x, y, z))


def _fluid(kind: str) -> bpy.types.FluidModifier:
    """A fluid modifier of a kind on the active object."""
    bpy.ops.object.modifier_add(type="FLUID")
    modifier = bpy.context.object.modifiers[-1]
    modifier.fluid_type = kind
    return modifier


if __name__ == "__main__":
    main()
