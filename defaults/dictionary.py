"""Make the dictionary of small files: `python -m defaults.dictionary`, from the project's root, a minute.

What a small file holds beside its codes are texts that all files share: keys of the manifest, metadata as other programs
write them, headers of tensors. Small volumes of many kinds are coded here, and of their texts what was not there before is
kept, the commonest last. zstd adds the tables with which it codes such texts. Writes codec/inrv/container/dictionary-1.bin.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyzstd
import torch
from torch import Tensor

from fixtures.make_golden import level_set, velocity
from inrv import EncodeOptions, Grid, MetaValue, SparseVolume, Topology, Transform, encode_bytes
from inrv.container import read_container
from inrv.container.dictionary import DICTIONARY
from inrv.grids import Metadata, sparse_grid

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
GENERATOR = "inrv 0.1.0"
MOST_BYTES, MOST_TEXT = 8192, 7680  # of the dictionary, and of the texts in it
LEVEL = 19
# A text that matches the dictionary in one long stretch after the other is stored in fewer bytes than one in many short ones: the
# commonest are kept nearly whole. Of those that come when the dictionary holds PLENTY bytes, only what is rare is kept.
PLENTY, LONG, SHORT = 6000, 64, 12
LEAST = 6  # bytes of a stretch that is worth keeping
EDGE = 28  # voxels
CUT, COARSE = 0.05, 25.0  # active is what lies above; a PSNR at which a threshold pays
OFF_CENTRE = Transform.from_voxel_size(0.0375, (-0.5, -0.25, 1.75))


def main() -> None:
    """Code the volumes, gather, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DICTIONARY)
    arguments = parser.parse_args()
    texts = [text for source, options in examples() for text in texts_of(encode_bytes(source, options)[0])]
    data = pyzstd.finalize_dict(pyzstd.ZstdDict(gathered(texts), is_raw=True), texts, MOST_BYTES, LEVEL).dict_content
    arguments.output.write_bytes(data)
    print(f"{len(texts)} texts of {sum(map(len, texts)):,} bytes")
    print(f"{arguments.output}: {len(data):,} bytes, SHA-256 {sha256(data).hexdigest()}")


def texts_of(data: bytes) -> list[bytes]:
    """The manifest of a file and the header of every chunk of tensors, its length included."""
    container = read_container(data)
    chunks = [container.chunk(number) for number, entry in enumerate(container.entries) if entry.type != "GRID"]
    manifest = replace(container.manifest, generator=GENERATOR).to_json()
    return [manifest, *(chunk[: 8 + int.from_bytes(chunk[:8], "little")] for chunk in chunks)]


def gathered(texts: Sequence[bytes]) -> bytes:
    """What is new in each text, put before what is there: the texts' first one stands last, where it is nearest."""
    found = b""
    for text in texts:
        new = _news(text, found, LONG if len(found) < PLENTY else SHORT)
        if len(new) + len(found) <= MOST_TEXT:
            found = new + found
    return found


def _news(text: bytes, known: bytes, shortest: int) -> bytes:
    """The stretches of `text` that are not in `known`, where `shortest` bytes and more at once have to be to count."""
    kept, start, at = b"", 0, 0
    while at + shortest <= len(text):
        if text[at : at + shortest] not in known:
            at += 1
            continue
        length = shortest
        while at + length < len(text) and text[at : at + length + 1] in known:
            length += 1
        kept += text[start:at] if at - start >= LEAST else b""
        start = at = at + length
    return kept + (text[start:] if len(text) - start >= LEAST else b"")


def examples() -> Iterator[tuple[Path | SparseVolume, EncodeOptions]]:
    """Volumes and how to code them, the commonest first."""
    fog = _metadata("fog volume")
    density, heat, small = (
        _fog(name, voxel, fog) for name, voxel in (("density", 0.1), ("temperature", 0.1), ("density", 0.0375))
    )
    blender, houdini, plugin = map(
        _creator, ("Blender/OpenVDBWriter", "Houdini 20.5.332/GEO_VDBTranslator", "Houdini/SOP_OpenVDB_Write")
    )
    yield SparseVolume((density,), blender), _options(effort="default")
    yield SparseVolume((density, heat), blender), _options(effort="default")
    yield SparseVolume((_half(replace(small, transform=OFF_CENTRE)),), houdini), _options(psnr=40.0)
    yield SparseVolume((_tiled(density),), blender), _options(topology="threshold", psnr=COARSE)
    yield level_set(), _options(max_error="0.1%")
    yield velocity(), _options(psnr=50.0)
    yield FIXTURES / "torus.vdb", _options(effort="default", psnr=50.0)
    yield SparseVolume((_wind("velocity"),), blender), _options(topology="threshold", psnr=COARSE)
    yield SparseVolume((_surface("surface"),), blender), _options(topology="threshold", psnr=COARSE)
    yield _fogs(("density", "flame", "fuel", "heat"), blender), _options()
    yield _fogs(("color.x", "color.y", "color.z", "Cd.x", "Cd.y", "Cd.z"), blender), _options()
    yield SparseVolume((_wind("v"), _wind("vel"), _wind("color")), plugin), _options(psnr=60.0)
    yield SparseVolume((_holed(density),), blender), _options(nonfinite="keep", max_error=0.001)
    for name in ("fire", "velocity", "tiles"):
        yield FIXTURES / f"{name}.vdb", _options()


def _options(**chosen: Any) -> EncodeOptions:
    return EncodeOptions(**{"effort": "instant", "device": "cpu"} | chosen)


def _creator(name: str) -> Metadata:
    return {"creator": MetaValue("string", name)}


def _metadata(grid_class: str, **more: MetaValue) -> Metadata:
    """As OpenVDB writes them."""
    return {
        "class": MetaValue("string", grid_class),
        "is_local_space": MetaValue("bool", False),
        "is_saved_as_half_float": MetaValue("bool", False),
        "value_type": MetaValue("string", "float"),
        "vector_type": MetaValue("string", "invariant"),
    } | more


def _puff() -> Tensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, EDGE)] * 3, indexing="ij")
    values = torch.exp(-2 * (x.square() + y.square() + z.square())) * (1.2 + torch.sin(7 * x + 3 * z) * torch.cos(5 * y))
    return torch.where(values > CUT, values, 0.0)


def _fog(name: str, voxel: float, metadata: Metadata) -> Grid:
    grid = sparse_grid(_puff(), name, Transform.from_voxel_size(voxel))
    return replace(grid, grid_class="fog volume", metadata=metadata | {"name": MetaValue("string", name)})


def _fogs(names: Sequence[str], metadata: Metadata) -> SparseVolume:
    return SparseVolume(tuple(_fog(name, 0.05, _metadata("fog volume")) for name in names), metadata)


def _half(grid: Grid) -> Grid:
    metadata = grid.metadata | {"is_saved_as_half_float": MetaValue("bool", True)}
    return replace(grid, saved_as_half=True, values=grid.values.half().float(), metadata=metadata)


def _tiled(grid: Grid) -> Grid:
    leaves = grid.topology
    tile = torch.tensor([[64, 0, 0]], dtype=torch.int32), torch.tensor([8], dtype=torch.int32), torch.tensor([True])
    return replace(grid, topology=Topology(leaves.leaf_origins, leaves.leaf_masks, *tile), tile_values=torch.tensor([[0.5]]))


def _holed(grid: Grid) -> Grid:
    values = grid.values.clone()
    values[::100] = float("nan")
    return replace(grid, values=values)


def _surface(name: str) -> Grid:
    x, y, z = torch.meshgrid(*[torch.arange(EDGE) - EDGE / 2] * 3, indexing="ij")
    distance = ((x.square() + y.square() + z.square()).sqrt() - EDGE / 3).clamp(-3, 3) * 0.05
    grid = sparse_grid(distance, name, Transform.from_voxel_size(0.05), 0.15, distance.abs() < 0.15)
    return replace(grid, grid_class="level set", metadata=_metadata("level set", name=MetaValue("string", name)))


def _wind(name: str) -> Grid:
    puff = _puff()
    values = torch.stack([puff, -puff.roll(2, 0), 0.5 * puff.roll(3, 1)], dim=3)
    grid = sparse_grid(values, name, Transform.from_voxel_size(0.1))
    metadata = _metadata("staggered", name=MetaValue("string", name), value_type=MetaValue("string", "vec3s"))
    return replace(grid, grid_class="staggered", vector_type="contravariant relative", metadata=metadata)


if __name__ == "__main__":
    main()
