"""The compression of manifests and chunks: zstd frames by the dictionary that comes with the codec.

The dictionary holds the texts that all files share: keys of the manifest and headers of tensors. It
never changes, because files need it for ever.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import zstandard

DICTIONARY = Path(__file__).with_name("dictionary-1.bin")
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"  # of every zstd frame: a file leaves it out


@lru_cache(maxsize=1)
def dictionary() -> zstandard.ZstdCompressionDict:
    """Return dictionary 1, which is read once."""
    data = DICTIONARY.read_bytes()
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)


def compress(data: bytes, level: int) -> bytes:
    """Return the shortest frame of `data`, without its magic number.

    With a dictionary, zstd makes do with small tables, which costs much of what large data hold in
    common. A frame made without one is decoded alike with the dictionary, whose first offsets are
    those that a decoder without a dictionary begins with.
    """
    options: dict[str, Any] = {"level": level, "write_content_size": True, "write_dict_id": False}
    with_dictionary = zstandard.ZstdCompressor(dict_data=dictionary(), **options)
    frames = [
        maker.compress(data) for maker in (with_dictionary, zstandard.ZstdCompressor(**options))
    ]
    return min(frames, key=len).removeprefix(FRAME_MAGIC)


def content_size(stored: bytes) -> int:
    """Return the raw size that a frame without magic number states, -1 where it states none.

    Raises zstandard.ZstdError where it is no frame.
    """
    return int(zstandard.frame_content_size(FRAME_MAGIC + stored[:32]))


def decompress(stored: bytes, most: int) -> bytes:
    """Return the content of a frame without magic number, of at most `most` bytes.

    Raises zstandard.ZstdError where it is not one frame, MemoryError where memory does not suffice.
    """
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary())
    frame = FRAME_MAGIC + stored
    content: bytes = decompressor.decompress(frame, max_output_size=most, allow_extra_data=False)
    return content
