"""The bytes of an .inrv file: header, chunk table, manifest, chunks. See format_spec.md.

What stands in the `config` of a field is not known here: the fields' rooms check it, by the
methods of `Value` and by `Container.check_reference`.
"""

from inrv.container.appending import SequenceAppender, write_sequence
from inrv.container.json_rules import Value
from inrv.container.layout import ACCURACY, Limits
from inrv.container.manifest import (
    Component,
    FieldEntry,
    FrameEntry,
    GridEntry,
    Manifest,
    MetaEntry,
    PassthroughEntry,
)
from inrv.container.reading import ChunkEntry, Container, Part, read_container
from inrv.container.sequence import (
    Moment,
    SequenceFile,
    Timeline,
    is_sequence,
    read_sequence,
)
from inrv.container.tensors import (
    Arrays,
    pack_tensors,
    take,
    unpack_tensors,
)
from inrv.container.writing import (
    AssembledFile,
    Chunk,
    assemble,
    container_bytes,
    container_of_frames,
    stored_size,
)

__all__ = [
    "ACCURACY",
    "Arrays",
    "AssembledFile",
    "Chunk",
    "ChunkEntry",
    "Component",
    "Container",
    "FieldEntry",
    "FrameEntry",
    "GridEntry",
    "Limits",
    "Manifest",
    "MetaEntry",
    "Moment",
    "Part",
    "PassthroughEntry",
    "SequenceAppender",
    "SequenceFile",
    "Timeline",
    "Value",
    "assemble",
    "container_bytes",
    "container_of_frames",
    "is_sequence",
    "pack_tensors",
    "read_container",
    "read_sequence",
    "stored_size",
    "take",
    "unpack_tensors",
    "write_sequence",
]
