"""The build of the package: setuptools, and a C compiler from PyPI where the machine has none."""

import build_core
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
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


def _compiler() -> list[str]:
    return [] if build_core.system_compiler() else ["ziglang==0.17.*"]


def get_requires_for_build_wheel(config_settings=None):
    """What must be installed to build a wheel."""
    return build_meta.get_requires_for_build_wheel(config_settings) + _compiler()


def get_requires_for_build_editable(config_settings=None):
    """What must be installed to build in place."""
    return build_meta.get_requires_for_build_editable(config_settings) + _compiler()
