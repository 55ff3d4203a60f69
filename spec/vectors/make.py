"""Writes the vectors: `python -m spec.vectors.make`, some seconds.

Beside the tiny files, which are made where they are missing, and for every golden file, a JSON file
with what each stage of decoding gives, as the reference reader finds it; README.md says what stands
in them. The sizes and SHA-256 in README.md and the dump of a file in container.md are written too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from spec.reference import lattice, masks, read
from spec.vectors.hexdump import lines
from spec.vectors.tiny import FILES

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER.parents[1] / "fixtures" / "golden"
WIDTH = 120  # of a line
FIRST, COLUMNS = 6, 8  # rows and columns of a tensor that are shown
BYTES = 32  # of a row of bytes, in hexadecimal
BITS = 16  # of a mask stream
POINTS = 2  # of a network
VOXELS = 2  # of a pass


def main() -> None:
    for name, make in FILES.items():
        if not (path := FOLDER / f"{name}.inrv").exists():
            path.write_bytes(make())
    for path in files():
        (FOLDER / f"{path.stem}.json").write_text(text_of(describe(path.read_bytes())))
    rewrite(FOLDER / "README.md", with_table)
    rewrite(FOLDER.parent / "container.md", with_dump)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def with_table(text: str) -> str:
    """README.md with the sizes and SHA-256 of all files; what is said of each stays."""
    said = dict(re.findall(r"^\| `(\S+\.inrv)` \|.*\| ([^|]*) \|$", text, re.MULTILINE))
    rows = []
    for path in [*files(), *sorted((GOLDEN / "future").glob("*.inrv"))]:
        data = path.read_bytes()
        digest = sha256(data).hexdigest()
        rows.append(f"| `{path.name}` | {len(data)} | `{digest}` | {said.get(path.name, '')} |\n")
    return re.sub(r"(?:^\| `\S+\.inrv` \|.*\n)+", "".join(rows), text, flags=re.MULTILINE)


def with_dump(text: str) -> str:
    """container.md with the dump of a file, its manifest and the JSON of its last chunk."""
    file = read.File((FOLDER / "encoded.inrv").read_bytes())
    payload = file.payload(1, file.table[1]["type"])
    tensors = payload[8 : 8 + int.from_bytes(payload[:8], "little")].decode()
    manifest = json.dumps(file.manifest, sort_keys=True, separators=(",", ":"))
    text = re.sub(
        r"```hexdump\n.*?```",
        lambda _: "```hexdump\n" + "\n".join(lines(file)) + "\n```",
        text,
        flags=re.DOTALL,
    )
    blocks = iter([manifest, tensors.rstrip()])
    return re.sub(
        r"```json\n.*?```",
        lambda _: "```json\n" + wrapped(next(blocks)) + "\n```",
        text,
        flags=re.DOTALL,
    )


def wrapped(text: str) -> str:
    """JSON with line breaks behind commas."""
    found = [""]
    for part in text.replace(",", ",\0").split("\0"):
        if len(found[-1]) + len(part) > 100:
            found.append("")
        found[-1] += part
    return "\n".join(found)


def files() -> list[Path]:
    """Every file that has a description."""
    return sorted(FOLDER.glob("*.inrv")) + sorted(GOLDEN.glob("*.inrv"))


def text_of(value: Any, indent: str = "") -> str:
    """JSON in which a list or object that fits stands on one line, as does a list of numbers."""
    short = json.dumps(value, sort_keys=False)
    numbers = isinstance(value, list) and all(isinstance(item, (int, float)) for item in value)
    if (
        numbers
        or len(short) + len(indent) <= WIDTH
        or not isinstance(value, (dict, list))
        or not value
    ):
        return short + ("\n" if not indent else "")
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {text_of(item, inner)}" for key, item in value.items()]
    else:
        lines = [inner + text_of(item, inner) for item in value]
    ends = "{}" if isinstance(value, dict) else "[]"
    return (
        ends[0] + "\n" + ",\n".join(lines) + f"\n{indent}{ends[1]}" + ("\n" if not indent else "")
    )


def describe(data: bytes) -> dict[str, Any]:
    """What each stage gives for the file whose bytes are `data`."""
    file = read.File(data)
    found = {
        "bytes": len(data),
        "sha256": sha256(data).hexdigest(),
        "header": file.header | {"magic": data[:8].hex()},
    }
    found["table"] = [
        {key: value for key, value in entry.items() if "reserved" not in key}
        for entry in file.table
    ]
    found["manifest"] = file.manifest
    found["chunks"] = [
        chunk(file, number) for number in range(len(file.table)) if known(file, number)
    ]
    numbers = [number for number, entry in enumerate(file.table) if entry["type"] == "TOPO"]
    found["topologies"] = {str(number): topology(file, number) for number in numbers}
    found["grids"] = [grid(file, entry) for entry in file.manifest["grids"]]
    return found


def known(file: read.File, number: int) -> bool:
    return file.table[number]["type"] in read.CHUNK_TYPES


def chunk(file: read.File, number: int) -> dict[str, Any]:
    kind = file.table[number]["type"]
    payload = file.payload(number, kind)
    about = {"number": number, "type": kind, "sha256": sha256(payload).hexdigest()}
    return (
        about
        if kind == "PASS"
        else about | {"tensors": {n: array(t) for n, t in read.tensors_of(payload).items()}}
    )


def array(values: np.ndarray, exact: bool = True) -> dict[str, Any]:
    """Shape and beginning of an array; where that is not all, and exact, the SHA-256."""
    about: dict[str, Any] = {"dtype": values.dtype.name, "shape": list(values.shape)}
    if not values.size:
        return about
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    rows = little.reshape(1, -1) if values.ndim == 1 else little.reshape(len(little), -1)
    columns = BYTES if values.dtype == np.uint8 else COLUMNS
    shown = [row[:columns] for row in rows[:FIRST]]
    about["first"] = [
        row.tobytes().hex() if row.dtype == np.uint8 else [plain(value) for value in row]
        for row in shown
    ]
    whole = len(rows) <= FIRST and rows.shape[1] <= columns
    return about | ({} if whole or not exact else {"sha256": sha256(little.tobytes()).hexdigest()})


def plain(value: Any) -> Any:
    """A number as JSON has it; the bits of one that is not finite."""
    return value.item() if np.isfinite(value) else f"bits {value.tobytes()[::-1].hex()}"


def topology(file: read.File, number: int) -> dict[str, Any]:
    sources = file.tensors(number, "TOPO")["predicted_from"].tolist()
    for source in sources:
        read.topology_of(file, source)
    with Streams() as streams:
        found = read.topology_of.__wrapped__(file, number)  # decoded now, not out of the cache
    return {
        "coded_masks": streams.found,
        "leaf_origins": array(found.leaf_origins),
        "leaf_masks": array(np.packbits(found.active, axis=1, bitorder="little")),
        "tile_origins": array(found.tile_origins),
        "tile_edges": array(found.tile_edges),
        "tile_active": array(found.tile_active),
    }


class Streams:
    """Notes the first probabilities and bits of the masks of every region, while it is entered."""

    def __enter__(self) -> Streams:
        self.found: list[dict[str, Any]] = []
        self.patched = patch.object(masks, "decode", self.decode)
        self.patched.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.patched.stop()

    def decode(self, cells: Any, kinds: Any, data: bytes, predicted: Any = None) -> np.ndarray:
        bits, decoder = [], masks.Decoder(data) if masks.MIXED in kinds else None

        def bit_of(number: int, prob: int, leaf: int, place: int) -> int:
            assert decoder is not None
            bits.append([leaf, place, prob, decoder.bit(number, prob, leaf, place)])
            return bits[-1][-1]

        mask = masks.code(cells, kinds, predicted, decoder.rate if decoder else 0, bit_of)
        about = {
            "leaves": len(mask),
            "bytes": len(data),
            "bits": len(bits),
            "set": int(mask.sum()),
        }
        self.found.append(about | {"leaf, voxel, prob, bit": bits[:BITS]})
        return mask


def grid(file: read.File, entry: dict[str, Any]) -> dict[str, Any]:
    topology = read.topology_of(file, entry["topology"])
    found: dict[str, Any] = {"name": entry["name"], "coordinates": array(topology.coordinates())}
    if entry["inactive_values"] is not None:
        with Streams() as streams:
            tile_values, mask, values = read.inactive_values(file, entry, topology)
        places = read.voxels(topology.leaf_origins, mask)
        found["inactive_values"] = {
            "tile_values": array(tile_values),
            "coordinates": array(places),
            "values": array(values),
        }
        found["inactive_values"] |= {"coded_masks": streams.found}
    if entry["frequent_values"] is not None:
        with Streams() as streams:
            frequent = read.frequent_values(file, entry["frequent_values"], topology)
        voxels = [
            {"value": [plain(v) for v in value], "voxels": int(mask.sum())}
            for mask, value in frequent
        ]
        found["frequent_values"] = {"values": voxels, "coded_masks": streams.found}
    field = file.manifest["field"]
    fourier = (
        field is not None
        and field["kind"] == "fourier"
        and any(c["output"] is not None for c in entry["components"])
    )
    if fourier:
        outputs = [component["output"] for component in entry["components"]]
        first = next(output for output in outputs if output is not None)
        found["network"] = network(file, topology.coordinates()[:POINTS], first)
    if field is not None and field["kind"] == "lattice":
        outputs = [component["output"] for component in entry["components"]]
        numbers = [output for output in outputs if output is not None]
        found["channels"] = {str(number): channel(file, number) for number in numbers}
    decoded = read.decode_grid(file, entry)
    found["decoded"] = {
        "coordinates": array(decoded.coordinates),
        "values": array(decoded.values, not fourier),
    }
    found["decoded"]["inactive_coordinates"] = array(decoded.inactive_coordinates)
    return found


def network(file: read.File, points: np.ndarray, output: int) -> dict[str, Any]:
    """A network at points; of one that knows time, at the place of an output."""
    config = file.manifest["field"]["config"]
    if config["time"] is not None:
        place = np.full((len(points), 1), config["time"]["places"][output], dtype=points.dtype)
        points = np.concatenate([points, place], axis=1)
    tensors = file.tensors(config["tensors"], "NETW")
    features = read.features(config, tensors, points)
    outputs = read.fourier(config, tensors, points)
    return {
        "points": points.tolist(),
        "features": array(features, False),
        "outputs": array(outputs, False),
    }


def channel(file: read.File, number: int) -> dict[str, Any]:
    """Every pass of the first region of a channel."""
    found = read.channel_of.__wrapped__(file, number)  # no region of it is decoded yet
    if found.reference is not None:
        found.reference(found.corners[0])  # beforehand: it is another channel's
    with Passes() as passes:
        values = found.region(found.corners[0])
    final = values[values != lattice.ABSENT].astype(np.int32)
    return {"corner": list(found.corners[0]), "passes": passes.found} | {
        "restoration": passes.rows or None,
        "final": array(final),
    }


class Passes:
    """Notes what passes do while a region is decoded."""

    def __enter__(self) -> Passes:
        self.found: list[dict[str, Any]] = []
        self.rows: dict[str, list[int]] = {}  # of the network's first voxel since the last pass
        self.codes: list[tuple[int, int]] = []  # of the last pass, after their quantisers
        network, read_codes, take = lattice.outputs_of, lattice.Codes.read, lattice.Region.take

        def outputs_of(tensors: read.Tensors, row: np.ndarray) -> np.ndarray:
            out = network(tensors, row)
            if len(row) and not self.rows:
                self.rows = {"in": row[0].tolist(), "out": out[0].tolist()}
            return out

        def noted(codes: lattice.Codes, *about: Any) -> tuple[np.ndarray, np.ndarray]:
            found, quantisers = read_codes(codes, *about)
            self.codes = list(zip(quantisers.tolist(), found.tolist(), strict=True))
            return found, quantisers

        def taken(region: Any, voxels: Any, predicted: Any, tables: Any, level: int) -> None:
            take(region, voxels, predicted, tables, level)
            if len(voxels):
                values = region.values[tuple(voxels.T)]
                columns = zip(
                    voxels.tolist(), predicted.tolist(), tables.tolist(), self.codes,
                    values.tolist(), strict=True,
                )  # fmt: skip
                first = [[*row[:3], *row[3], row[4]] for row in columns][:VOXELS]
                about = {"level": level, "voxels": len(voxels)} | self.rows
                self.found.append(
                    about | {"voxel, predicted, table, quantiser, code, value": first}
                )
            self.rows = {}

        self.patches = [
            patch.object(lattice, "outputs_of", outputs_of),
            patch.object(lattice.Codes, "read", noted),
            patch.object(lattice.Region, "take", taken),
        ]
        for each in self.patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.patches:
            each.stop()


if __name__ == "__main__":
    main()
