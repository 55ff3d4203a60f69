"""Operators, panels, handlers and properties of the extension: all that knows Blender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent
from bpy.props import (
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)
from bpy_extras.io_utils import ImportHelper

import inrv
from inrv.scenes import VdbCache

from .player import MODES_OF_LOOPS, Playback, Player, Prefetcher

GIGABYTE = 10**9
KNOWN_ERRORS = (inrv.InrvError, OSError)  # of a file or a folder: they are told, and nothing else
MODE_ITEMS = [
    ("CLIP", "Clip", "Show nothing ahead of the first frame and behind the last"),
    ("EXTEND", "Extend", "Hold the first frame and the last"),
    ("REPEAT", "Repeat", "Begin anew behind the last frame"),
    ("PING_PONG", "Ping-Pong", "Go back behind the last frame"),
]


class Session:
    """What runs while the extension is on: open files, the cache, and the thread that decodes.

    rendering: whether a render goes on, which sees every voxel
    """

    def __init__(self) -> None:
        self.rendering = False
        self.players = dict[Path, Player]()
        self.prefetcher = Prefetcher(VdbCache(Path()))

    @property
    def cache(self) -> VdbCache:
        """The cache, where and as large as the preferences say now."""
        chosen = preferences()
        folder = chosen.cache_folder if chosen else ""
        self.prefetcher.cache.folder = Path(bpy.path.abspath(folder)) if folder else own_folder()
        size = chosen.cache_size if chosen else DEFAULT_SIZE
        self.prefetcher.cache.most_bytes = int(size * GIGABYTE)
        return self.prefetcher.cache

    def player(self, path: Path) -> Player:
        """The player of a file."""
        if path not in self.players:
            self.players[path] = Player(path, self.cache)
        return self.players[path]


DEFAULT_SIZE, DEFAULT_AHEAD = 10.0, 12
session = Session()


def preferences() -> Any:
    """Give the preferences of the extension; None where it runs without being installed."""
    addon = bpy.context.preferences.addons.get(__package__)
    return None if addon is None else addon.preferences


def own_folder() -> Path:
    """Give the folder of the cache where the user has chosen none."""
    if __package__.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__, path="cache", create=True))
    return Path(bpy.app.tempdir) / "inrv"


class InrvPreferences(bpy.types.AddonPreferences):
    """Where decoded frames go, and how many."""

    bl_idname = __package__

    cache_folder: StringProperty(  # type: ignore[valid-type]
        name="Cache Folder",
        description="Where frames are decoded to; empty for a folder of the extension",
        subtype="DIR_PATH",
    )
    cache_size: FloatProperty(  # type: ignore[valid-type]
        name="Cache Size (GB)",
        description="Frames that were not shown for longest are removed beyond this size",
        default=DEFAULT_SIZE,
        min=0.1,
        soft_max=1000.0,
    )
    ahead: IntProperty(  # type: ignore[valid-type]
        name="Frames Ahead",
        description="How many frames behind the playhead are decoded in the background",
        default=DEFAULT_AHEAD,
        min=0,
        max=1000,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        for name in ("cache_folder", "cache_size", "ahead"):
            self.layout.prop(self, name)
        self.layout.operator(PurgeCache.bl_idname, icon="TRASH")


def _changed(properties: InrvVolume, _: bpy.types.Context) -> None:
    show(properties.id_data, bpy.context.scene)


class InrvVolume(bpy.types.PropertyGroup):
    """What a Volume knows of the .inrv file that it shows."""

    source: StringProperty(  # type: ignore[valid-type]
        name="File",
        description="The .inrv file that the volume shows",
        subtype="FILE_PATH",
        update=_changed,
    )
    offset: IntProperty(  # type: ignore[valid-type]
        name="Frame Offset",
        description="What is added to the scene's frame to give the frame of the sequence",
        update=_changed,
    )
    mode: EnumProperty(  # type: ignore[valid-type]
        name="Mode",
        description="What is shown ahead of the first frame and behind the last",
        items=MODE_ITEMS,
        default="EXTEND",
        update=_changed,
    )
    level: IntProperty(  # type: ignore[valid-type]
        name="Viewport Level",
        description="The level of detail in the viewport: every 2nd voxel at 1, every 4th at 2. "
        "Renders take all voxels",
        min=0,
        max=6,
        update=_changed,
    )
    error: StringProperty(name="Error", options={"SKIP_SAVE"})  # type: ignore[valid-type]


def show(volume: bpy.types.Volume, scene: bpy.types.Scene) -> None:
    """Have a Volume show its file at the frame of a scene; what goes wrong is told in its panel."""
    own = volume.inrv
    if not own.source or volume.library is not None:
        return
    try:
        path, ahead = _files_of(volume, scene)
    except KNOWN_ERRORS as error:
        if own.error != str(error):
            print(f"inrv: {volume.name}: {error}")
        own.error = str(error)
        volume.filepath = ""  # rather nothing than the frame of another time
        return
    own.error = ""
    if volume.filepath != path:
        volume.filepath = path
    if ahead is not None:
        session.prefetcher.ask(volume.name_full, *ahead)


def _files_of(
    volume: bpy.types.Volume, scene: bpy.types.Scene
) -> tuple[str, tuple[list[inrv.Volume], int] | None]:
    """Give the file to show, '' for none, and the frames to decode ahead with their level.

    Raises what opens and decodes a file.
    """
    own, chosen = volume.inrv, preferences()
    player = session.player(Path(bpy.path.abspath(own.source, library=volume.library)).absolute())
    level = 0 if session.rendering else own.level
    playback = Playback(own.offset, own.mode, level)
    session.cache  # noqa: B018 - the preferences may have changed
    frame = player.frame_at(scene.frame_current, playback)
    if frame is None:
        session.prefetcher.forget(volume.name_full)
        return "", None
    path = session.prefetcher.show(volume.name_full, frame, level)
    count = chosen.ahead if chosen else DEFAULT_AHEAD
    return str(path), (player.ahead(scene.frame_current, playback, count), level)


def show_all(scene: bpy.types.Scene) -> None:
    """Have every Volume show its file at the frame of a scene."""
    session.prefetcher.forget_all_but([volume.name_full for volume in bpy.data.volumes])
    for volume in bpy.data.volumes:
        show(volume, scene)


class ImportInrv(bpy.types.Operator, ImportHelper):
    """Add .inrv files as Volume objects."""

    bl_idname = "object.inrv_import"
    bl_label = "Import .inrv"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 - as Blender reads it

    filename_ext = ".inrv"
    filter_glob: StringProperty(default="*.inrv", options={"HIDDEN"})  # type: ignore[valid-type]
    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    directory: StringProperty(  # type: ignore[valid-type]
        subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"}
    )
    files: CollectionProperty(  # type: ignore[valid-type]
        type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"}
    )
    level: IntProperty(  # type: ignore[valid-type]
        name="Viewport Level",
        description="The level of detail in the viewport; renders take all voxels",
        min=0,
        max=6,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Add the files that were dropped, or ask for some."""
        if self.filepath or self.files:
            return self.execute(context)
        return super().invoke(context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add each file, and tell of those that cannot be shown."""
        names = [Path(self.directory, file.name) for file in self.files if file.name]
        added = [self._add(context, path) for path in names or [Path(self.filepath)]]
        return {"FINISHED"} if any(added) else {"CANCELLED"}

    def _add(self, context: bpy.types.Context, path: Path) -> bool:
        """Add one file; tell whether that went well."""
        try:
            frames = session.player(path.absolute()).volume.frames
        except KNOWN_ERRORS as error:
            self.report({"ERROR"}, str(error))
            return False
        volume = bpy.data.volumes.new(path.stem)
        own = volume.inrv
        own.mode, own.level = MODES_OF_LOOPS[frames.timeline.loop], self.level
        own.source = str(path.absolute())  # shows it
        if own.error:
            self.report({"ERROR"}, own.error)
            bpy.data.volumes.remove(volume)
            return False
        self._tell_rate(context.scene, frames)
        thing = bpy.data.objects.new(path.stem, volume)
        thing.location = context.scene.cursor.location
        context.collection.objects.link(thing)
        for other in context.selected_objects:
            other.select_set(False)
        thing.select_set(True)
        context.view_layer.objects.active = thing
        return True

    def _tell_rate(self, scene: bpy.types.Scene, frames: inrv.Frames) -> None:
        """Tell of a frame rate that is not the scene's, which stays as it is."""
        if frames.timeline.rate is None:
            return
        wanted = frames.timeline.rate[0] / frames.timeline.rate[1]
        found = scene.render.fps / scene.render.fps_base
        if abs(wanted - found) > 0.01:
            self.report(
                {"WARNING"},
                f"{Path(frames.name).name} has {wanted:.6g} frames a second and the scene "
                f"{found:.6g}: a frame of the scene shows a frame of the file",
            )


class PurgeCache(bpy.types.Operator):
    """Remove the decoded frames that no Volume shows."""

    bl_idname = "wm.inrv_purge"
    bl_label = "Purge Cache of Decoded Frames"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove them, and tell how many these were."""
        removed = session.cache.purge(session.prefetcher.shown())
        self.report({"INFO"}, f"{len(removed)} decoded frames were removed")
        return {"FINISHED"}


class DropInrv(bpy.types.FileHandler):
    """Takes .inrv files that are dropped."""

    bl_idname = "INRV_FH_import"
    bl_label = "inrv"
    bl_import_operator = ImportInrv.bl_idname
    bl_file_extensions = ".inrv"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Tell where files may be dropped."""
        return context.area is not None and context.area.type in ("VIEW_3D", "OUTLINER")


class VolumePanel(bpy.types.Panel):
    """The file of a Volume, among its properties."""

    bl_idname = "DATA_PT_inrv"
    bl_label = "inrv"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "data"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether a Volume is chosen."""
        return getattr(context, "volume", None) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the properties, and what went wrong."""
        self.layout.use_property_split = True
        for name in ("source", "offset", "mode", "level"):
            self.layout.prop(context.volume.inrv, name)
        if context.volume.inrv.error:
            self.layout.label(text=context.volume.inrv.error, icon="ERROR")


def _draw_menu(menu: bpy.types.Menu, _: bpy.types.Context) -> None:
    menu.layout.operator(ImportInrv.bl_idname, text="inrv Volume (.inrv)")


@persistent
def _on_frame(scene: bpy.types.Scene, *_: object) -> None:
    show_all(scene)


@persistent
def _on_load(*_: object) -> None:
    session.rendering = False
    show_all(bpy.context.scene)


@persistent
def _on_render(scene: bpy.types.Scene, *_: object) -> None:
    session.rendering = True
    show_all(scene)


@persistent
def _after_render(scene: bpy.types.Scene, *_: object) -> None:
    session.rendering = False
    show_all(scene)


HANDLERS = {
    "frame_change_pre": _on_frame,
    "load_post": _on_load,
    "render_init": _on_render,
    "render_complete": _after_render,
    "render_cancel": _after_render,
}
CLASSES = (InrvPreferences, InrvVolume, ImportInrv, PurgeCache, DropInrv, VolumePanel)


def register() -> None:
    """Add classes, properties, handlers and the entry of the menu."""
    global session
    session = Session()
    for own in CLASSES:
        bpy.utils.register_class(own)
    bpy.types.Volume.inrv = PointerProperty(type=InrvVolume)
    for name, handler in HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)
    bpy.types.TOPBAR_MT_file_import.append(_draw_menu)


def unregister() -> None:
    """Take them away, and end the thread."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_menu)
    for name, handler in HANDLERS.items():
        getattr(bpy.app.handlers, name).remove(handler)
    session.prefetcher.close()
    del bpy.types.Volume.inrv
    for own in reversed(CLASSES):
        bpy.utils.unregister_class(own)
