"""The release of the library."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Return the version; 'unknown' where the library runs from its sources, not installed."""
    try:
        return version("inrv")
    except PackageNotFoundError:
        return "unknown"
