"""Every real volume survives the way through an .inrv file.

Topology, header and tiles are exact, values within their range.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.round_trip import check_volume, round_trip

# Active voxels of each grid, in the file's order.
FILES = {
    "affine_fog.vdb": [271_492],
    "blender_gas.vdb": [129_065, 129_065, 833_280, 0, 0],
    "burner.vdb": [6_170_525, 6_819_181],
    "icosahedron.vdb": [364_741],
    "pig.vdb": [2_026_087],
    "rainbow.vdb": [151_523, 374_193, 151_523, 151_523, 151_523],
    "smoke.vdb": [1_049_275],
    "wdas_cloud_sixteenth.vdb": [415_642],
    "fire/fire_0060.vdb": [378_355, 145_928],
    "fire/fire_0061.vdb": [377_395, 148_689],
    "fire/fire_0062.vdb": [376_837, 151_190],
    "fire/fire_0063.vdb": [377_676, 153_245],
    "fire/fire_0064.vdb": [379_584, 154_608],
    "fire/fire_0065.vdb": [381_881, 154_948],
    "fire/fire_0066.vdb": [384_253, 155_428],
    "fire/fire_0067.vdb": [387_724, 155_868],
}


@pytest.mark.parametrize("name", FILES)
def test_survives(corpus: Path, tmp_path: Path, name: str) -> None:
    original, decoded = round_trip(corpus / name, tmp_path)
    check_volume(original, decoded)
    assert [grid.topology.active_voxel_count for grid in decoded.grids] == FILES[name]


def test_no_file_is_forgotten(corpus: Path) -> None:
    found = {
        str(path.relative_to(corpus))
        for path in [*corpus.glob("*.vdb"), *corpus.glob("fire/*.vdb")]
    }
    assert found == set(FILES)
