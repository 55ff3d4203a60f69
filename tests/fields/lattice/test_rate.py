"""What is asked for, a PSNR, a size, a ratio, is what comes out.

What cannot be, or contradicts itself, is said.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, OptionError, SparseVolume
from inrv.grids import sparse_grid
from testing.lattice import frayed, instant, noise, smooth


def volume() -> SparseVolume:
    return SparseVolume((sparse_grid(smooth(40)),))


def detailed(edge: int = 40) -> SparseVolume:
    values = smooth(edge) + np.float32(0.1) * noise((edge,) * 3, 8)
    return SparseVolume((sparse_grid(values),))


def psnr_of(data: bytes, original: SparseVolume) -> float:
    """DB over the active voxels, peak = range."""
    values = original.grids[0].values[:, 0].astype(np.float64)
    errors = (inrv.load(data, device="cpu")[0].values().astype(np.float64) - values) / (
        values.max() - values.min()
    )
    return -10 * math.log10(float((errors**2).mean()))


@pytest.mark.parametrize("asked", [36.0, 50.0])
def test_a_psnr_is_reached_and_hardly_passed(asked: float) -> None:
    data, report = inrv.encode_bytes(volume(), instant(psnr=asked))
    found = psnr_of(data, volume())
    assert asked <= found <= asked + 0.1
    assert report.grids[0].psnr == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize("asked", [32.0, 60.0])
def test_a_psnr_of_a_volume_with_detail_is_reached_and_hardly_passed(asked: float) -> None:
    original = detailed()
    data, _ = inrv.encode_bytes(original, instant(psnr=asked))
    assert asked <= psnr_of(data, original) <= asked + 0.1


def test_the_usual_psnr_is_45() -> None:
    data, report = inrv.encode_bytes(volume(), instant())
    assert report.field == "lattice" and 45 <= psnr_of(data, volume()) <= 45.1


def test_every_grid_reaches_the_psnr() -> None:
    first = detailed(24).grids[0]
    second = sparse_grid(50 * noise((24,) * 3, 9) * smooth(24, 0.3), "other")
    _, report = inrv.encode_bytes(SparseVolume((first, second)), instant(psnr=40.0))
    assert all(40 <= grid.psnr <= 40.1 for grid in report.grids)


def test_a_size_is_kept_and_used_and_more_gives_more(tmp_path: Path) -> None:
    found = []
    for most in (1600, 5000):
        path = tmp_path / f"{most}.inrv"
        report = inrv.encode(volume(), path, instant(size=most))
        assert path.stat().st_size == report.bytes_out and 0.9 * most <= report.bytes_out <= most
        found.append(psnr_of(path.read_bytes(), volume()))
    assert found[1] > found[0] + 6


def test_a_ratio_counts_the_values_in_memory() -> None:
    most = 4 * 24**3 / 20
    data, _ = inrv.encode_bytes(detailed(24), instant(ratio=20))
    assert 0.9 * most <= len(data) <= most


def test_a_ratio_counts_the_bytes_of_the_vdb_file(tmp_path: Path) -> None:
    path = tmp_path / "source.vdb"
    from inrv.files.vdb import write_volume

    write_volume(path, detailed(24))
    before = path.stat().st_size
    data, report = inrv.encode_bytes(path, instant(ratio=15))
    assert report.bytes_in == before and 0.9 * before / 15 <= len(data) <= before / 15


def test_a_size_that_cannot_be_is_an_error_that_names_it() -> None:
    with pytest.raises(OptionError, match=r"at least about ([\d,]+) bytes") as caught:
        inrv.encode_bytes(SparseVolume((sparse_grid(smooth(10)),)), instant(size=123))
    message = str(caught.value)
    needed = re.search(r"about ([\d,]+) bytes", message)
    assert needed is not None and int(needed[1].replace(",", "")) > 123 and "123" in message


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"psnr": 40.0, "size": 5000}, ("psnr", "size")),
        ({"size": 5000, "ratio": 10.0}, ("size", "ratio")),
        ({"psnr": 40.0, "max_error": 0.1}, ("psnr", "max_error")),
        ({"max_error": "1%", "ratio": 3.0}, ("max_error", "ratio")),
        ({"max_error": 0.1, "topology": "threshold"}, ("max_error", "exact")),
        ({"effort": "instant", "field": "fourier"}, ("effort", "fourier")),
        ({"max_error": 0.1, "field": "fourier"}, ("max_error", "fourier")),
        ({"size": 5000, "ratio": 9.0, "field": "fourier"}, ("size", "ratio")),
        ({"size": 5000, "preset": "paper"}, ("size", "preset")),
        ({"ratio": 9.0, "values_per_weight": 5.0}, ("ratio", "values_per_weight")),
        ({"epochs": 5, "field": "lattice"}, ("epochs", "lattice")),
        ({"preset": "paper", "field": "lattice"}, ("preset", "lattice")),
        ({"max_time": 5.0, "effort": "thorough"}, ("effort",)),
        ({"epochs": 5, "max_error": "1%"}, ("max_error",)),
        ({"field": "wavelet"}, ("wavelet", "lattice", "fourier")),
        ({"effort": "heroic"}, ("heroic", "instant")),
        ({"max_error": "-1%"}, ("-1%",)),
        ({"max_error": 0, "psnr": 40.0}, ("max_error", "psnr")),
        ({"lossless": True, "size": 5000}, ("lossless", "size")),
        ({"lossless": True, "topology": "threshold"}, ("lossless", "exact")),
        ({"lossless": True, "field": "fourier"}, ("lossless", "fourier")),
        ({"max_error": "much"}, ("much",)),
        ({"max_error": float("nan")}, ("nan",)),
        ({"psnr": float("inf")}, ("psnr",)),
        ({"size": 0}, ("size",)),
        ({"ratio": -2.0}, ("ratio", "-2.0")),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    asked: dict[str, object], named: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError) as caught:
        EncodeOptions(**asked)  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in named), str(caught.value)


def test_the_field_follows_from_the_options() -> None:
    assert EncodeOptions().chosen_field == "lattice" == EncodeOptions(psnr=30.0).chosen_field
    assert (
        EncodeOptions(epochs=3).chosen_field
        == "fourier"
        == EncodeOptions(preset="paper").chosen_field
    )


def test_a_psnr_counts_the_active_voxels_under_a_threshold_too() -> None:
    x = np.where(frayed(smooth() > 0.04, smooth() > 0.01), smooth(), np.float32(0))
    original = SparseVolume((sparse_grid(x),))
    data, report = inrv.encode_bytes(original, instant(psnr=30.0, topology="threshold"))
    exact, _ = inrv.encode_bytes(original, instant(psnr=30.0, topology="exact"))
    errors = (
        inrv.load(data, device="cpu")[0]
        .voxels(original.grids[0].topology.coordinates())
        .astype(np.float64)
    )
    errors -= original.grids[0].values
    assert report.grids[0].misclassified is not None and 30 <= report.grids[0].psnr < 31
    assert -10 * math.log10(float(((errors / x.max()) ** 2).mean())) > 29.5
    assert len(data) < 0.8 * len(exact)


def test_a_size_takes_exact_masks_only_where_the_values_are_good() -> None:
    x = np.where(frayed(smooth() > 0.04, smooth() > 0.01), smooth(), np.float32(0))
    original = SparseVolume((sparse_grid(x),))
    small, few = inrv.encode_bytes(original, instant(size=1200))
    large, many = inrv.encode_bytes(original, instant(size=12_000))
    assert len(small) <= 1200 and few.grids[0].misclassified is not None
    assert (
        11_000 < len(large) <= 12_000
        and many.grids[0].misclassified is None
        and many.grids[0].psnr > 35
    )
    with pytest.raises(OptionError, match="or take `topology='threshold'`"):
        inrv.encode_bytes(original, instant(size=1200, topology="exact"))
