"""What a file is that is not what it was taken for, and what to do about it."""

from __future__ import annotations

RECOGNISED_BY = 48  # bytes at the start of a file

_KINDS = (  # how files begin, what they are, and the cure
    (
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "`git lfs pull` fetches the file that it stands for",
    ),
    (b"\x89INRV\r\n\x1a", "an .inrv file", "decode it first"),
    (b" BDV\0\0\0\0", "a .vdb file", "encode it first"),
    (b"NanoVDB", "a NanoVDB file", "encode it first"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first, as with gunzip"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first, as with unzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it first, as with unzstd"),
    (b"BZh", "compressed by bzip2", "unpack it first, as with bunzip2"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it first, as with unxz"),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")


def refusal(start: bytes, expected: str) -> str:
    """Tell why a file is not what is expected: what it is, and the cure, where that is known.

    start: its first bytes, up to RECOGNISED_BY
    expected: as 'a .vdb file'
    """
    if not start:
        return f"is empty: not {expected}"
    for beginning, kind, cure in _KINDS:
        if start.startswith(beginning):
            return f"is {kind}, not {expected}: {cure}"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        return (
            "is a page of HTML or XML, as servers send in place of a file, "
            f"not {expected}: download it anew"
        )
    return f"starts with {start[:8]!r}: not {expected}"
