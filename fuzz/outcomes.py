"""Which error condition of format_spec.md, section 13, a message stands for."""

from __future__ import annotations

import re

# The first that is found in the message.
CONDITIONS = (
    ("C2", r"unpacks to [\d,]+ bytes, more than"),
    ("H6", r"holds [\d,]+ chunks, more than the limit"),
    ("exact values", r"exact values take .* more than the limit"),
    ("leaves", r"exceed the limit of leaves"),
    ("weights", r"weights, more than the limit"),
    ("values", r"values are to be decoded, more than the limit|has [\d,]+ values, more than the limit"),
    ("work", r"products, more than the limit"),
    ("H1", r"fewer than the \d+ of a header|bytes: it is truncated|is empty"),
    ("H2", r"not an \.inrv file"),
    ("H3", r"is of format version"),
    ("H4", r"the header has the checksum"),
    ("H5", r"should have [\d,]+ bytes and has"),
    ("H7", r"chunk table and manifest end at"),
    ("T1", r"the chunk table has the checksum"),
    ("T2", r"four ASCII letters"),
    ("T3", r"has the critical flag"),
    ("T4", r"is critical and of a type"),
    ("T5", r"sets bits that format version"),
    ("T6", r"lies at [\d,]+ with"),
    ("T7", r"the last chunk ends at"),
    ("C1", r"has compression"),
    ("C3", r"is not compressed, yet"),
    ("C4", r"is compressed, yet"),
    ("C5", r"has the checksum"),
    ("C7", r"holds a zstd frame of"),
    ("C6", r"not one valid zstd frame"),
    ("S1", r"not valid safetensors|safetensors header is not valid JSON"),
    ("M2", r"an object holds the key"),
    ("M3", r"is not a JSON number|is too large or too long|is too long"),
    ("M4", r"nested deeper|recursion"),
    ("M5", r"surrogates not allowed"),
    ("M1", r"manifest is not valid JSON"),
    ("M6", r"lacks the key"),
    ("M9", r"its maximum must (not be below|be above)"),
    ("M10", r"number of the field's outputs"),
    ("M15", r"place of its own|place of another carried grid"),
    ("M16", r"its chunks hold"),
    ("M17", r"its first number must be at least"),
    ("M18", r"only the rule 'away' has a threshold"),
    ("M19", r"must be the number of a grid that has a threshold"),
    ("M11", r"must be the number of a [A-Z]"),
    ("M13", r"leaf_voxels is .* the grid's active_voxels"),
    ("M14", r"which a (fourier field|lattice field|channel of a lattice) does not have|scalar or a flat list"),
    ("M12", r"metadata.*(must|whole|range|lacks)"),
    ("M8", r"must be a list of"),
    ("S2", r"the format has"),
    ("S6", r"leaf_voxels: the manifest says|active_voxels: the manifest says"),
    ("S7", r"tiles without exact values"),
    ("S8", r"says is active"),
    ("S10", r"says is not active|has a frequent value$"),
    ("S14", r"frequent value(s are|s have|s hold|'s mask)"),
    ("S12", r"predicted_from holds"),
    ("S11", r"leaf_kinds hold|not words of 4|words of the masks are damaged|end before their"),
    ("S9", r"transform (map|matrix)"),
    ("F3", r"output at a voxel is not finite"),
    ("R1", r"reference samples differ"),
    ("F1", r"field type .* not known|begins with the networks"),
    ("F2", r"field tensor"),
    ("F4", r"each output of a lattice"),
    ("F5", r"a region's spread is|words, word_counts say"),
    ("F6", r"words of a region are damaged|more words than its codes"),
    ("F7", r"of a lattice holds a number beyond"),
    ("F8", r"offsets of a channel are|a palette "),
    ("S13", r"a cell of a block is a leaf|a block holds neither"),
    ("S4", r"node_origins|nodes of leaves"),
    ("S5", r"tile_edges|tile_active|tile_origins|stands twice, or over another tile"),
    ("S3", r"tensor .* (is|are) "),
    ("M7", r"manifest\S* is |manifest\..* (must|bytes is)"),
)
_COMPILED = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in CONDITIONS)
KNOWN = frozenset(name for name, _ in CONDITIONS)


def condition(message: str) -> str:
    """The id of the error condition, '?' where the message is none of those known."""
    return next((name for name, pattern in _COMPILED if pattern.search(message)), "?")
