"""Which release of the library this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Its version, 'unknown' where it is run from its sources without being installed."""
    try:
        return version("inrv")
    except PackageNotFoundError:
        return "unknown"
