"""The bytes of an .inrv file: header, chunk table, manifest, chunks. See format_spec.md.

What stands in the `config` of a field is not known here: the fields' rooms check it, by the
methods of `Value` and by `Container.check_reference`.
"""

from inrv.container.json_rules import Value
from inrv.container.layout import ACCURACY, Limits
from inrv.container.manifest import (
    Component,
    FieldEntry,
    GridEntry,
    Manifest,
    MetaEntry,
    PassthroughEntry,
)
from inrv.container.reading import ChunkEntry, Container, Part, read_container
from inrv.container.tensors import (
    Arrays,
    pack_tensors,
    take,
    unpack_tensors,
)
from inrv.container.writing import AssembledFile, Chunk, assemble, container_bytes, stored_size

__all__ = [
    "ACCURACY",
    "Arrays",
    "AssembledFile",
    "Chunk",
    "ChunkEntry",
    "Component",
    "Container",
    "FieldEntry",
    "GridEntry",
    "Limits",
    "Manifest",
    "MetaEntry",
    "Part",
    "PassthroughEntry",
    "Value",
    "assemble",
    "container_bytes",
    "pack_tensors",
    "read_container",
    "stored_size",
    "take",
    "unpack_tensors",
]
