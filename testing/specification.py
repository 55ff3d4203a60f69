"""The text of the specification, which tests compare with code and files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| `(\w+\.inrv)` \| ([\d,]+) \| `([0-9a-f]{64})` \|", re.MULTILINE)
ID = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)


def text() -> str:
    """Return format_spec.md and the parts it links to, joined."""
    parts = [ROOT / "format_spec.md", *sorted((ROOT / "spec").rglob("*.md"))]
    return "\n".join(path.read_text() for path in parts)


def error_ids() -> list[str]:
    """Return the ids of all error conditions, in order."""
    return ID.findall((ROOT / "spec" / "errors.md").read_text())


def vectors() -> dict[str, tuple[int, str]]:
    """Return the size in bytes and the SHA-256 of each test vector by its file's name."""
    return {name: (int(size.replace(",", "")), sha) for name, size, sha in ROW.findall(text())}


def hexdump() -> bytes:
    """Return the bytes of the hexdump: each line an offset, at most 16 bytes, and words."""
    (block,) = re.findall(r"```hexdump\n(.*?)```", text(), re.DOTALL)
    data = b""
    for line in block.splitlines():
        assert int(line[:8], 16) == len(data), line
        data += bytes.fromhex(line[10:57])
    return data
