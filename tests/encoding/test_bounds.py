"""Numbers that float32 cannot hold: a bound holds for the caller's own, or is refused."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, OptionError, sparse_grid
from inrv.encoding import exactness
from inrv.encoding.bounds import check_rounding
from inrv.grids import Normalisation

COUNT = np.arange(24 * 24 * 28).reshape(24, 24, 28)


def options(**asked: Any) -> EncodeOptions:
    return EncodeOptions(effort="instant", device="cpu", **asked)


def report_of(array: Any, **asked: Any) -> tuple[inrv.GridReport, NDArray[np.float64]]:
    data, report = inrv.encode_bytes({"density": array}, options(**asked))
    box = ((0, 0, 0), np.array(array.shape[:3]) - 1)
    return report.grids[0], inrv.load(data, "cpu")["density"].dense(box).astype(np.float64)


@pytest.mark.parametrize(
    ("array", "bound", "told"),
    [
        (COUNT + 2**30, 0.4, r"int64 numbers.*off by 64 .*max_error=0.4.*array - 1073741824"),
        (COUNT + 2**60, 8.0, r"int64 numbers.*off by 1.613e\+04"),
        ((COUNT + 2**26).astype(np.int32), 0.4, "int32 numbers.*off by 4 "),
        (COUNT * 1e-6 + 4.5e6, 1e-3, r"float64 numbers.*array - 4500000"),
        (COUNT * 1e-4 + 1.7e9, "1%", "float64 numbers.*array - 1700000000"),
        (COUNT * 1e3 + 0.5, 0.01, "float64 numbers.*ask for more"),
    ],
)
def test_a_bound_below_the_rounding_is_refused_with_type_bound_and_error(
    array: Any, bound: Any, told: str
) -> None:
    with pytest.raises(OptionError, match=told):
        inrv.encode_bytes({"density": array}, options(max_error=bound))


@pytest.mark.parametrize(
    "array", [COUNT + 2**30, COUNT + 2**60, np.full((8, 8, 8), 2**24 + 1), COUNT * 1e-6 + 4.5e6]
)
def test_without_a_bound_rounding_beyond_the_finest_step_is_refused(array: Any) -> None:
    with pytest.raises(OptionError, match=r"more than 1/65,536 of their range.*subtract an offset"):
        inrv.encode_bytes({"density": array}, options())


def test_the_cure_cures() -> None:
    array = COUNT + 2**30
    told, decoded = report_of(array - 2**30, max_error=0.4)
    assert np.abs(decoded + 2**30 - array).max() <= told.max_error <= 0.4


@pytest.mark.parametrize("bound", [40.0, "0.5%"])
def test_codes_keep_what_rounding_leaves_of_a_bound(bound: float | str) -> None:
    array = COUNT + (1 << 27)  # off by 4 or 8
    told, decoded = report_of(array, max_error=bound)
    most = 0.005 * (COUNT.max()) if bound == "0.5%" else 40.0
    assert told.max_error is not None and np.abs(decoded - array).max() <= told.max_error <= most


def test_a_bound_just_above_the_rounding_is_kept() -> None:
    array = COUNT + (1 << 27)
    told, decoded = report_of(array, max_error=8.001)
    assert np.abs(decoded - array).max() == told.max_error == 8.0 and not math.isinf(told.psnr)


def test_ordinary_doubles_need_no_thought() -> None:
    rng = np.random.default_rng(3)
    for array in (
        rng.random((20, 20, 20)),
        np.full((20, 20, 20), 0.1),
        300 + 1e-11 * rng.random((8, 8, 8)),
        rng.random((8, 8, 8)) * 1e30,
    ):
        told, decoded = report_of(array)
        assert told.max_error is not None and np.abs(decoded - array).max() <= told.max_error


def test_a_quiet_component_beside_a_loud_one_is_not_refused() -> None:
    rng = np.random.default_rng(4)
    wind = rng.random((12, 12, 12, 3)) * [1e6, 1.0, 1e-9]
    told, decoded = report_of(wind)
    assert told.max_error is not None and np.abs(decoded - wind).max() <= told.max_error
    wind[..., 1] += 4.5e6
    with pytest.raises(OptionError, match="component y"):
        inrv.encode_bytes({"wind": wind}, options())


@pytest.mark.parametrize("asked", [{}, {"max_error": "0.1%"}])
def test_an_extreme_does_not_hide_that_all_others_lose_their_values(asked: dict[str, Any]) -> None:
    array = COUNT * 1e-4 + 4.5e6
    array[3, 4, 5] = 1e9
    with pytest.raises(OptionError, match=r"float64 numbers.*array - 4500000"):
        inrv.encode_bytes({"density": array}, options(**asked))


def test_the_rounding_of_an_extreme_is_no_reason_to_refuse_all_others() -> None:
    array = np.random.default_rng(6).random((24, 24, 24))
    array[3, 4, 5] = 1e6 / 3
    told, decoded = report_of(array)
    assert told.max_error is not None and np.abs(decoded - array).max() <= told.max_error < 0.2
    with pytest.raises(OptionError, match="max_error"):
        inrv.encode_bytes({"density": array}, options(max_error=0.01))


def test_a_number_beyond_float32_is_refused_by_name() -> None:
    array = np.ones((4, 4, 4))
    array[1, 2, 3] = 1e300
    with pytest.raises(
        OptionError, match=r"'wind': the float64 1e\+300 at voxel \(1, 2, 3\) is beyond float32"
    ):
        sparse_grid(array, "wind")
    with pytest.raises(OptionError, match="beyond float32"):
        sparse_grid(np.ones((4, 4, 4)), background=1e300)


def test_what_is_hidden_counts_for_nothing() -> None:
    array = np.ma.array(np.full((6, 6, 6), 2.5), mask=np.zeros((6, 6, 6), bool))
    array.data[2], array.mask[2] = 1e300, True
    array.data[3], array.mask[3] = 0.1, True
    assert sparse_grid(array).rounded is None


def test_doubles_of_a_file_are_refused_where_passing_them_through_is_better() -> None:
    grid = sparse_grid(COUNT * 1e-6 + 4.5e6)
    assert grid.rounded is not None
    with pytest.raises(
        OptionError, match=r"^site\.vdb: grid 'density': float64.*`doubles='passthrough'`"
    ):
        check_rounding(grid, grid.rounded, Normalisation.fit(grid.values), options(), "site.vdb: ")


@pytest.mark.parametrize("asked", [{"lossless": True}, {"max_error": 0}])
def test_what_is_to_come_back_as_it_was_may_not_be_rounded_at_all(asked: dict[str, Any]) -> None:
    for array, cure in ((COUNT / 7, r"astype\('float32'\)"), (COUNT + 2**30, "array - 1073741824")):
        with pytest.raises(
            OptionError, match=f"rounded to float32, and all is to come back as it was: .*{cure}"
        ):
            inrv.encode_bytes({"density": array}, options(**asked))
    told, decoded = report_of(COUNT, **asked)
    assert told.max_error == 0 and np.array_equal(decoded, COUNT)


@pytest.mark.parametrize("asked", [{}, {"lossless": True}, {"max_error": 0.4}, {"max_error": "1%"}])
def test_numbers_that_round_to_the_background_are_not_lost_in_silence(
    asked: dict[str, object],
) -> None:
    array = np.full((8, 16, 16), 100_000_000, dtype=np.int64)
    array[0] += np.arange(256).reshape(16, 16) % 4
    with pytest.raises(inrv.OptionError, match="int64 numbers, which range over 2, are off by 3"):
        inrv.encode(sparse_grid(array, background=100_000_000), io.BytesIO(), options(**asked))


def test_numbers_below_the_smallest_of_float32_are_refused_where_nothing_else_is_left() -> None:
    array = np.random.default_rng(0).random((12, 12, 12))
    with pytest.raises(inrv.OptionError, match="float64"):
        inrv.encode(sparse_grid(array * 1e-300), io.BytesIO(), options(exact_below=0))
    array[:3] *= 1e-60
    assert (
        inrv.encode(sparse_grid(array), io.BytesIO(), options(exact_below=0)).grids[0].active_voxels
        == array.size
    )


def scan() -> NDArray[np.int16]:
    """A computed tomography of a ball, with noise, in air that is mostly 0."""
    edge = 32
    x, y, z = np.meshgrid(*[np.arange(edge) - edge / 2] * 3, indexing="ij")
    noise = np.random.default_rng(5).normal(0, 3, (edge,) * 3)
    inside = np.sqrt(x * x + y * y + z * z) < 12
    found: NDArray[np.int16] = np.where(inside, 900 + noise * 4, (noise - 4).clip(0)).astype(
        np.int16
    )
    return found


@pytest.mark.parametrize(("bound", "most"), [(0.5, 0), (1.0, 1), (2.7, 2), (40.0, 40)])
def test_whole_numbers_stay_whole_and_within_the_bound(bound: float, most: int) -> None:
    array = scan()
    grid = sparse_grid(array, "ct", active=np.ones(array.shape, dtype=np.bool_))
    data, told = inrv.encode_bytes(grid, EncodeOptions(effort="instant", max_error=bound))
    decoded = inrv.load(data)["ct"].dense(((0, 0, 0), (31, 31, 31)))
    assert np.array_equal(decoded, np.rint(decoded))
    assert np.abs(decoded - array).max() == told.grids[0].max_error == most
    squared = float(np.square(decoded - array.astype(np.float64)).mean())
    peak = float(np.ptp(array))
    expected = 10 * math.log10(peak**2 / squared) if squared else math.inf
    assert told.grids[0].psnr == pytest.approx(expected, abs=1e-3)
    assert told.grids[0].lossless == (most == 0)


@pytest.mark.parametrize(("bound", "most"), [(0.1, 0), (0.13, 1), (0.24, 1), (0.5, 3)])
def test_multiples_of_a_unit_stay_such(bound: float, most: int) -> None:
    numbers, unit = scan(), 0.125000003
    array = (numbers * unit - 1024.7).astype(np.float32)
    grid = sparse_grid(array, "ct", active=np.ones(array.shape, dtype=np.bool_))
    data, told = inrv.encode_bytes(grid, EncodeOptions(effort="instant", max_error=bound))
    decoded = inrv.load(data)["ct"].dense(((0, 0, 0), (31, 31, 31))).astype(np.float64)
    missed = np.abs(decoded - array).max()
    assert missed == pytest.approx(told.grids[0].max_error, abs=1e-9) and missed <= bound
    assert np.abs(np.rint((decoded + 1024.7) / unit) - numbers).max() == most


def test_the_largest_whole_numbers_keep_the_bound() -> None:
    edge, bound, step, count = 24, 3, 7, 20
    lowest = 2**24 - step * count - (bound + 1)
    x, y, z = np.meshgrid(*[np.arange(edge)] * 3, indexing="ij")
    slope = (x + y + z + np.random.default_rng(0).normal(0, 2, x.shape)).clip(0, 69) / 69
    array = np.rint(lowest + slope * (2**24 - lowest)).astype(np.float32)
    grid = sparse_grid(array, "ct", active=np.ones(array.shape, dtype=np.bool_))
    data, told = inrv.encode_bytes(grid, options(max_error=bound, exact_below=0))
    decoded = inrv.load(data)["ct"].dense(((0, 0, 0), (edge - 1,) * 3))
    assert np.abs(decoded.astype(np.float64) - array).max() <= bound
    assert told.grids[0].max_error is not None and told.grids[0].max_error <= bound


@pytest.mark.parametrize("bound", [0.7, 1.6, 6.9])
def test_smooth_whole_numbers_keep_the_bound_when_they_are_rounded(bound: float) -> None:
    x = np.linspace(0, 3, 20)
    array = np.rint(2000 * np.sin(x)[:, None, None] * np.cos(x)[:, None] * np.sin(2 * x))
    data, told = inrv.encode_bytes({"ct": array}, options(max_error=bound, exact_below=0))
    decoded = np.rint(inrv.load(data)["ct"].dense(((0, 0, 0), (19, 19, 19))))
    assert np.abs(decoded - array).max() <= math.floor(bound)
    assert told.grids[0].max_error is not None and told.grids[0].max_error <= bound


def test_rough_values_are_rounded_where_that_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(0, 1, 40)
    rough = np.random.default_rng(1).normal(0, 0.1, (40, 40, 40)) + (x > 0.5)
    options = EncodeOptions(max_error=0.02, device="cpu")
    data, told = inrv.encode_bytes({"cloud": rough}, options)
    decoded = inrv.load(data)["cloud"].dense()
    missed = np.abs(decoded - rough).max()
    assert told.grids[0].max_error is not None and missed <= told.grids[0].max_error <= 0.02
    monkeypatch.setattr(exactness, "rounded", lambda *of: None)
    assert len(data) < len(inrv.encode_bytes({"cloud": rough}, options)[0])
