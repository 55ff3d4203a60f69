"""The build of the package: setuptools, the viewer, and a C compiler from PyPI where need be."""

import shutil
import sys

import build_core
import build_viewer
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


ZIG = "ziglang==0.17.*"


def _compiler() -> list[str]:
    return [] if build_core.system_compiler() else [ZIG]


def _makes_viewer() -> bool:
    """Whether the page of the viewer is to be built, and can be: with Node.js.

    One that lies in a checkout may be older than its sources.
    """
    is_checkout = (build_core.ROOT / ".git").exists()
    return (is_checkout or not build_viewer.PAGE.exists()) and shutil.which("npm") is not None


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel, with the page of the viewer where that is there or can be made."""
    why = "Node.js with npm would build it"
    if _makes_viewer():
        try:
            build_viewer.build_viewer()
        except build_core.BuildError as error:  # without a network, for example
            why = str(error)
            if build_viewer.PAGE.exists():
                print(f"the viewer may be older than its sources: {why}", file=sys.stderr)
    if not build_viewer.PAGE.exists():
        print(f"this wheel has no viewer: {why}", file=sys.stderr)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_wheel(config_settings=None):
    """What must be installed to build a wheel."""
    zig = [ZIG] if _makes_viewer() else _compiler()
    return build_meta.get_requires_for_build_wheel(config_settings) + zig


def get_requires_for_build_editable(config_settings=None):
    """What must be installed to build in place."""
    return build_meta.get_requires_for_build_editable(config_settings) + _compiler()
