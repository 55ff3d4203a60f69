"""The Blender extension: .inrv files as Volume objects.

player.py  which frame is shown, and what is decoded ahead; it knows nothing of Blender
addon.py   operators, panels, handlers and properties
"""


def register() -> None:
    """Add all of it to Blender."""
    from . import addon

    addon.register()


def unregister() -> None:
    """Take all of it away, and end what works in the background."""
    from . import addon

    addon.unregister()
