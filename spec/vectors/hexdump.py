"""Prints a file as container.md shows it: `python -m spec.vectors.hexdump FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from spec.reference.read import File

COMPRESSION = "not compressed", "zstd with dictionary 1"
CRITICAL = "ancillary", "critical"


def lines(file: File) -> list[str]:
    """The lines of a file's dump."""
    header, found, at = file.header, list[str](), 0
    fields = [
        (8, "magic"),
        (2, f"major version {header['major']}"),
        (2, f"minor version {header['minor']}"),
    ]
    fields += [(4, f"{header['chunks']} chunks"), (8, f"file size {header['file_size']}")]
    fields += [(4, f"manifest: {COMPRESSION[header['manifest_compression']]}")]
    fields += [(4, f"manifest: {header['manifest_stored']} bytes stored")]
    fields += [(4, f"manifest: {header['manifest_raw']} bytes raw"), (4, "CRC-32 of the manifest")]
    fields += [(4, "CRC-32 of the chunk table"), (4, "CRC-32 of the header")]
    for number, entry in enumerate(file.table):
        fields += [(4, f"chunk {number}: {entry['type']}"), (1, CRITICAL[entry["flags"]])]
        fields += [
            (1, COMPRESSION[entry["compression"]]),
            (2, "reserved"),
            (8, f"offset {entry['offset']}"),
        ]
        fields += [(8, f"{entry['stored']} bytes stored"), (8, f"{entry['raw']} bytes raw")]
        fields += [(4, "CRC-32 of the stored bytes"), (4, "reserved")]
    fields += [(header["manifest_stored"], "manifest")]
    fields += [
        (entry["stored"], f"chunk {number}, {entry['type']}")
        for number, entry in enumerate(file.table)
    ]
    for size, meaning in fields:
        for start in range(at, at + size, 16):
            part = file.data[start : min(start + 16, at + size)]
            found.append(
                f"{start:08x}  {part.hex(' '):47}  {meaning if start == at else ''}".rstrip()
            )
        at += size
    return found


if __name__ == "__main__":
    print("\n".join(lines(File(Path(sys.argv[1]).read_bytes()))))
