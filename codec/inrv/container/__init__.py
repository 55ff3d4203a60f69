"""The .inrv file: header, manifest, chunks. Knows nothing of torch or of .vdb files. See format_spec.md."""

from inrv.container.layout import Limits
from inrv.container.manifest import ACCURACY, Component, FieldEntry, GridEntry, Manifest, MetaEntry, PassthroughEntry
from inrv.container.reading import Container, Entry, read_container
from inrv.container.tensors import pack_tensors, unpack_tensors
from inrv.container.writing import Chunk, container_bytes, stored_size, write_bytes, write_container

__all__ = [
    "ACCURACY",
    "Chunk",
    "Component",
    "Container",
    "Entry",
    "FieldEntry",
    "GridEntry",
    "Limits",
    "Manifest",
    "MetaEntry",
    "PassthroughEntry",
    "container_bytes",
    "pack_tensors",
    "read_container",
    "stored_size",
    "unpack_tensors",
    "write_bytes",
    "write_container",
]
