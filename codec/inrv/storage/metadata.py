"""Metadata as manifest entries, and back."""

from __future__ import annotations

import base64
from typing import Any

from inrv.container import MetaEntry
from inrv.grids import Metadata, MetaValue


def store_metadata(metadata: Metadata) -> dict[str, MetaEntry]:
    """Return metadata as manifest entries; raw bytes in base64."""
    return {name: MetaEntry(value.type, _stored(value.value)) for name, value in metadata.items()}


def _stored(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    return list(value) if isinstance(value, tuple) else value


def restore_metadata(entries: dict[str, MetaEntry]) -> Metadata:
    """Return the metadata of manifest entries."""
    return {name: MetaValue(entry.type, _restored(entry.value)) for name, entry in entries.items()}


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"], validate=True)
    return tuple(value) if isinstance(value, (list, tuple)) else value
