"""The golden files decode to what they did when they were made; none is missing."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from fixtures.make_golden import FOLDER, VOLUMES, decoded_arrays, decoded_file, header, in_float32
from spec.reference import read as reference_reader
from testing import specification

ACCURACY = 1e-4  # the accuracy class of spec/fourier.md
Arrays = dict[str, NDArray[Any]]


def bound(expected: NDArray[Any], components: Any) -> NDArray[np.float64]:
    """How far values may lie from the reference: the accuracy class and a rounding of each side."""
    span = np.array([component["maximum"] - component["minimum"] for component in components])
    return 2 * ACCURACY * span + 2.0**-23 * np.abs(expected)


@pytest.fixture(params=VOLUMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(name: str) -> bytes:
    return (FOLDER / f"{name}.inrv").read_bytes()


def arrays_of(name: str) -> Arrays:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def expected(name: str) -> Arrays:
    return arrays_of(name)


def passthrough_of(expected: Arrays) -> dict[int, bytes]:
    return {
        int(key.partition(".")[2]): array.tobytes()
        for key, array in expected.items()
        if key.startswith("passthrough.")
    }


def same_values(found: NDArray[Any], expected: NDArray[Any], components: Any) -> bool:
    """Within the accuracy class where they are finite, bit for bit where they are not."""
    odd = ~np.isfinite(expected)
    allowed = np.broadcast_to(bound(np.where(odd, 0, expected), components), expected.shape)
    close = np.abs(found[~odd] - expected[~odd]) <= allowed[~odd]
    return bool(close.all()) and found[odd].tobytes() == expected[odd].tobytes()


def of_grid(expected: Arrays, position: int) -> Arrays:
    return {
        key.partition(".")[2]: array
        for key, array in expected.items()
        if key.startswith(f"{position}.")
    }


def test_the_files_are_those_of_the_specification(name: str, data: bytes) -> None:
    assert specification.vectors()[f"{name}.inrv"] == (len(data), sha256(data).hexdigest())
    assert len(data) < 10_000


def test_the_library_decodes_them_within_the_accuracy_class(data: bytes, expected: Arrays) -> None:
    with in_float32():
        decoded = decoded_file(data)
    grids = decoded.grids
    assert {grid.position: grid.data for grid in decoded.passthrough} == passthrough_of(expected)
    assert len(grids) == sum(key.endswith(".header") for key in expected)
    for position, (grid, entry) in enumerate(
        zip(grids, reference_reader.File(data).manifest["grids"], strict=True)
    ):
        wanted = of_grid(expected, position)
        assert json.loads(json.dumps(header(grid))) == json.loads(str(wanted.pop("header")))
        found = decoded_arrays(grid)
        assert found.keys() == wanted.keys()
        values = wanted.pop("values")
        assert found["values"].shape == values.shape and found["values"].dtype == np.float32
        assert same_values(found.pop("values"), values, entry["components"])
        for key, array in wanted.items():
            assert array.dtype == found[key].dtype and array.tobytes() == found[key].tobytes(), key
    assert inrv.verify(data, device="cpu").samples.largest_difference <= ACCURACY


def test_the_second_reader_decodes_them_within_the_accuracy_class(
    data: bytes, expected: Arrays
) -> None:
    for position, grid in enumerate(reference_reader.decode(data)):
        wanted = of_grid(expected, position)
        about = json.loads(str(wanted.pop("header")))
        for key in ("name", "value_type", "grid_class", "vector_type", "saved_as_half"):
            assert grid.entry[key] == about[key], key
        values = wanted.pop("values")
        assert same_values(grid.values, values, grid.entry["components"])
        for key, array in wanted.items():
            assert (
                array.astype(array.dtype.newbyteorder("<")).tobytes()
                == np.asarray(getattr(grid, key)).tobytes()
            ), key
    assert reference_reader.samples_difference(reference_reader.File(data)) <= ACCURACY


def test_they_hold_what_their_maker_says(name: str, data: bytes, expected: Arrays) -> None:
    """Headers are those of the grids they were made from, and components as near as a file states.

    The peak is the range of all values but the exact ones.
    """
    file = reference_reader.File(data)
    manifest, found = file.manifest, {}
    for position, (grid, entry) in enumerate(
        zip(VOLUMES[name]().grids, manifest["grids"], strict=True)
    ):
        wanted = of_grid(expected, position)
        assert json.loads(json.dumps(header(grid))) == json.loads(str(wanted["header"]))
        values = decoded_arrays(grid)["values"]
        odd = ~np.isfinite(values)
        assert (np.isnan(wanted["values"][odd]) == np.isnan(values[odd])).all()
        coded = ~odd.any(axis=1)
        error = wanted["values"][coded].astype(np.float64) - values[coded]
        for column, component in enumerate(entry["components"]):
            if component["output"] is None:
                assert not error[:, column].any()
            else:
                span = np.ptp(values[~exact_in(file, position), column])
                with np.errstate(divide="ignore"):
                    found[component["output"]] = -20 * np.log10(
                        np.sqrt(np.square(error[:, column]).sum() / len(values)) / span
                    )
    stated = [np.inf if psnr is None else psnr for psnr in manifest["encoding"].get("psnr", [])]
    assert [found[output] for output in sorted(found)] == pytest.approx(stated, abs=0.01)


def exact_in(file: reference_reader.File, position: int) -> NDArray[np.bool_]:
    """Which active leaf voxels of a grid have an exact value: bool (N,)."""
    entry = file.manifest["grids"][position]
    active = reference_reader.topology_of(file, entry["topology"]).active
    exact = np.zeros_like(active)
    if entry["exact_values"] is not None:
        exact = reference_reader.bits(file.tensors(entry["exact_values"], "EXAC")["exact_masks"])
    return exact[active]


def test_together_they_hold_what_the_format_can_say() -> None:
    """By the arrays beside them, which are what both readers find in the files."""
    grids = [
        (entry, of_grid(arrays_of(name), position))
        for name in VOLUMES
        for position, entry in enumerate(
            reference_reader.File((FOLDER / f"{name}.inrv").read_bytes()).manifest["grids"]
        )
    ]
    assert {entry["value_type"] for entry, _ in grids} == {"float", "vec3s"}
    assert any(len(arrays["inactive_values"]) for _, arrays in grids) and any(
        arrays["tile_active"].any() for _, arrays in grids
    )
    outputs = [
        component["output"]
        for entry, arrays in grids
        if len(arrays["values"])
        for component in entry["components"]
    ]
    assert None in outputs and len(outputs) > outputs.count(None)
    assert any(not len(arrays["values"]) for _, arrays in grids) and any(
        (arrays["coordinates"] < 0).any() for _, arrays in grids
    )
    assert {"float": "nan"} in [
        value["value"] for entry, _ in grids for value in entry["metadata"].values()
    ]
