"""Sequences to start from, and hostile ones made of them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutations import SIZES, WIDE, Seed, seed_of
from fuzz.payloads import change_bytes, change_frame, store
from fuzz.trees import HostileTree
from testing.rebuild import (
    SLOT,
    SLOTS,
    Part,
    joined,
    payload,
    set_places,
    take_apart,
    uncompressed,
)

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"
# The groups of each sequence: golden files, with the number of the frame of those that have none.
GROUPS: dict[str, list[tuple[str, float | None]]] = {
    "reel": [("motion", None), ("one_leaf", 3)],
    "stills": [("no_field", -1.5), ("frequent", 7), ("empty", 2)],
    "small": [("empty", 1), ("one_leaf", 2), ("empty", 3), ("empty", 5)],  # the index is half of it
}
TIMELINE = {
    "rate": [24, 1],
    "unit": "s",
    "start": 0,
    "increment": 1,
    "loop": "repeat",
    "pattern": "fire.####.vdb",
    "metadata": {"shot": {"type": "string", "value": "a1"}},
}
TIMES = {"reel": 1 / 24, "small": 1.0}  # from number to time; the others have no times


def sequence_files(plain: bool = False) -> dict[str, bytes]:
    """Return sequences by name.

    plain: whether nothing in them is compressed
    """
    files = {}
    for name in GROUPS:
        tree, groups = _sequence(name, plain)
        files[name] = _whole(tree, groups)
    files["chain"] = _chain(*_sequence("small", plain))
    return files


def _sequence(name: str, plain: bool) -> tuple[dict[str, Any], list[bytes]]:
    """Return an index and its groups."""
    groups, entries = [], []
    for stem, number in GROUPS[name]:
        file = take_apart((GOLDEN / f"{stem}.inrv").read_bytes())
        if number is not None:
            file.edit_manifest("frames.0.number", number)
            file.edit_manifest("frames.0.time", number * TIMES[name] if name in TIMES else None)
        frames = json.loads(payload(file.manifest))["frames"]
        moments = [{key: frame[key] for key in ("number", "time")} for frame in frames]
        groups.append(uncompressed(file.to_bytes()) if plain else file.to_bytes())
        entries.append({"frames": moments, "offset": 0, "size": 0})
    tree = {"before": None, "generator": "fuzz", "timeline": TIMELINE, "groups": entries}
    set_places(tree, groups)
    return deepcopy(tree), groups


def _whole(tree: dict[str, Any], groups: list[bytes]) -> bytes:
    raw = json.dumps(tree).encode()
    return joined(Part(raw, len(raw)), groups)


def _chain(tree: dict[str, Any], groups: list[bytes]) -> bytes:
    """Return a sequence whose index has a record for each group; a slot names each of the last two.

    tree: the index of one record
    """
    data, before, place = bytearray(_whole(tree, groups)), None, b""
    for group in tree["groups"]:
        raw = json.dumps(tree | {"groups": [group], "before": before}).encode()
        older, place = place, SLOT.pack(len(data), len(raw), len(raw), zlib.crc32(raw))
        before = {"offset": len(data), "stored": len(raw), "raw": len(raw)}
        before["checksum"] = zlib.crc32(raw)
        data += raw
    for start, slot in zip(SLOTS, (place, older), strict=True):
        data[start : start + SLOT.size + 4] = _checked(slot)
    return bytes(data)


def _checked(slot: bytes) -> bytes:
    """Return a slot with its checksum."""
    return slot + struct.pack("<I", zlib.crc32(slot))


@dataclass(frozen=True)
class SequenceSeed:
    """A good sequence.

    data: its bytes
    tree: its index, as one record
    groups: its groups, taken apart
    """

    data: bytes
    tree: dict[str, Any]
    groups: tuple[Seed, ...]


def sequence_seeds() -> list[SequenceSeed]:
    """Return the sequences, in a fixed order."""
    found = []
    for name, data in sequence_files().items():
        tree, groups = _sequence(name if name in GROUPS else "small", plain=False)
        parts = tuple(seed_of(f"{name} {at}", group) for at, group in enumerate(groups))
        found.append(SequenceSeed(data, tree, parts))
    return found


def sequence_case(
    seed: SequenceSeed, random: Random, structured: Callable[[Seed, Random], bytes]
) -> bytes:
    """Change a group as `structured` does, or the index, or the slots; checksums are mostly right.

    One case in eight is changed without repair.
    """
    if random.random() < 0.125:
        return change_bytes(seed.data, random)
    groups, tree = [group.data for group in seed.groups], deepcopy(seed.tree)
    if random.random() < 0.4:
        at = random.randrange(len(groups))
        groups[at] = structured(seed.groups[at], random)
    set_places(tree, groups)
    if random.random() < 0.3:
        groups.append(_split(tree, groups))
    hostile = HostileTree(tree)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        hostile.change(random)
    text = hostile.to_bytes(random)
    if random.random() < 0.1:
        text = change_bytes(text, random)
    index = Part(b"", 0)
    store(index, text, random)
    if random.random() < 0.1:
        change_frame(index, random)
        index.raw %= 1 << 32
    data = bytearray(joined(index, groups))
    if random.random() < 0.15:
        _change_slot(data, random)
    return bytes(data)


def _split(tree: dict[str, Any], groups: list[bytes]) -> bytes:
    """Move the first group of an index to a record before it, behind the groups; return that."""
    raw = json.dumps(tree | {"groups": tree["groups"][:1]}).encode()
    tree["before"] = {
        "offset": SLOTS[1] + SLOT.size + 4 + sum(map(len, groups)),
        "stored": len(raw),
        "raw": len(raw),
        "checksum": zlib.crc32(raw),
    }
    del tree["groups"][0]
    return raw


def _change_slot(data: bytearray, random: Random) -> None:
    """Change a field of a slot, or of both, or the bytes of one."""
    start = random.choice(SLOTS)
    fields = list(SLOT.unpack_from(data, start))
    field = random.randrange(len(fields))
    fields[field] = random.choice((fields[field] + 1, *(SIZES if field else WIDE)))
    slot = _checked(
        SLOT.pack(*(value % (1 << (64, 32, 32, 32)[at]) for at, value in enumerate(fields)))
    )
    if random.random() < 0.2:
        slot = random.choice((bytes(len(slot)), change_bytes(slot, random)[: len(slot)]))
    for place in SLOTS if random.random() < 0.5 else (start,):
        data[place : place + len(slot)] = slot
