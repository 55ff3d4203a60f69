"""Compression 2: zstd frames without their magic number, with the dictionary that comes with the codec."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import zstandard

DICTIONARY = Path(__file__).with_name("dictionary-1.bin")  # files need it for ever: a better one gets another compression
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"


@lru_cache(maxsize=1)
def dictionary() -> zstandard.ZstdCompressionDict:
    """The dictionary, read once."""
    return zstandard.ZstdCompressionDict(DICTIONARY.read_bytes(), dict_type=zstandard.DICT_TYPE_FULLDICT)


def compress(data: bytes, level: int) -> bytes:
    """What is stored of `data` with compression 2."""
    compressor = zstandard.ZstdCompressor(level=level, dict_data=dictionary(), write_content_size=True, write_dict_id=False)
    return compressor.compress(data).removeprefix(FRAME_MAGIC)
