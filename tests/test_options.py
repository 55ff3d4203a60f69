"""Options as people write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from inrv import EncodeOptions, OptionError, Transform, sparse_grid


def test_numpys_numbers_and_texts_are_pythons() -> None:
    given = EncodeOptions(
        psnr=np.float32(45),
        seed=np.int64(3),
        effort=np.str_("instant"),
        exact_below=np.float64(1e3),
    )
    assert given == EncodeOptions(psnr=45.0, seed=3, effort="instant", exact_below=1000)
    assert {type(given.psnr), type(given.seed), type(given.effort), type(given.exact_below)} == {
        float,
        int,
        str,
    }
    assert EncodeOptions(size=torch.tensor(200000)).size == EncodeOptions(size=2e5).size == 200000  # type: ignore[arg-type]
    assert EncodeOptions(max_error=np.float64(0.5)).error_bound == (0.5, False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("density", ("density",)),
        (1, (1,)),
        (["a", np.int64(2)], ("a", 2)),
        (np.array(["a"]), ("a",)),
    ],
)
def test_grids_may_be_one_or_a_list(given: Any, expected: tuple[str | int, ...]) -> None:
    assert EncodeOptions(grids=given).grids == expected


def test_no_grid_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(OptionError, match="`grids` is empty"):
        EncodeOptions(grids=())


@pytest.mark.parametrize(
    "asked",
    [
        {"size": 0.5},
        {"size": "5"},
        {"seed": None, "psnr": "45"},
        {"seed": None},
        {"seed": 2**63},
        {"dilation": "x"},
        {"exact_below": None},
        {"psnr": "45"},
        {"exact_below": float("inf")},
        {"ratio": [1]},
        {"effort": np.array(["instant", "default"])},
        {"lossless": 1},
        {"lossless": np.array([True, False])},
        {"grids": 1.5},
        {"grids": ("density", None)},
        {"dilation": -1},
        {"dilation": 0.5},
        {"dilation": float("nan")},
    ],
)
def test_other_types_are_errors(asked: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        EncodeOptions(**asked)


@pytest.mark.parametrize("huge", [2**63, 10**30, 10**400])
@pytest.mark.parametrize("name", ["size", "seed", "exact_below", "dilation"])
def test_whole_numbers_end_where_64_bits_do(name: str, huge: int) -> None:
    with pytest.raises(OptionError, match=f"`{name}={huge}` must be at most {2**63 - 1}"):
        EncodeOptions(**{name: huge})


@pytest.mark.parametrize("name", ["psnr", "ratio", "values_per_weight", "epochs", "max_time"])
def test_numbers_end_where_floats_do(name: str) -> None:
    with pytest.raises(OptionError, match=f"`{name}=1000.*` must be .*below 1.8e308"):
        EncodeOptions(**{name: 10**400})


def test_transforms_take_arrays() -> None:
    assert Transform(matrix=np.eye(4)) == Transform() and hash(Transform(matrix=np.eye(4).tolist()))  # type: ignore[arg-type]
    sizes = Transform.from_voxel_size(np.array([1, 2, 3.0]), np.float32([0, 0, 1]))
    assert (
        sizes == Transform.from_voxel_size((1, 2, 3), (0, 0, 1))
        and sizes.map_type == "ScaleTranslateMap"
    )
    assert Transform.from_voxel_size(np.float32(0.5)) == Transform.from_voxel_size(0.5)
    with pytest.raises(OptionError, match=r"not an inrv\.Transform"):
        sparse_grid(np.ones((2, 2, 2)), transform=np.eye(4))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="voxel size"):
        Transform.from_voxel_size((1, 2))
