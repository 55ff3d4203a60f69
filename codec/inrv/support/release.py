"""Which release of the library this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Give the version; 'unknown' where the library is run without being installed."""
    try:
        return version("inrv")
    except PackageNotFoundError:
        return "unknown"
