"""DICOM series, made by pydicom and read again by SimpleITK where it is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, ImageFileError, OptionError, files
from inrv.grids import Grid

pydicom = pytest.importorskip("pydicom")

SHAPE = (12, 10, 8)  # x, y, z
EDGES = (0.5, 0.75, 2.0)
TURN = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # the directions of x, y and z, in columns
CT = "1.2.840.10008.5.1.4.1.1.2"


def numbers(dtype: str = "int16") -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, 3000, SHAPE).astype(dtype)


def dataset(array: NDArray[Any], **told: Any) -> Any:
    """A file of one picture (x, y), or of many frames (x, y, z)."""
    held = pydicom.Dataset()
    held.file_meta = pydicom.dataset.FileMetaDataset()
    held.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    held.file_meta.MediaStorageSOPClassUID = held.SOPClassUID = CT
    uid = pydicom.uid.generate_uid()
    held.file_meta.MediaStorageSOPInstanceUID = held.SOPInstanceUID = uid
    held.PatientName, held.PatientID, held.StudyDate = "Doe^Jane", "12345", "20200101"
    held.SeriesInstanceUID, held.SeriesNumber, held.SeriesDescription = "1.2.3", 4, "Head"
    held.Modality, held.RescaleType, held.WindowCenter, held.WindowWidth = "CT", "HU", 40, 400
    held.Columns, held.Rows = array.shape[:2]
    held.BitsAllocated = held.BitsStored = 8 * array.dtype.itemsize
    held.HighBit = held.BitsStored - 1
    held.PixelRepresentation = int(array.dtype.kind == "i")
    held.SamplesPerPixel, held.PhotometricInterpretation = 1, "MONOCHROME2"
    held.PixelData = np.ascontiguousarray(array.T).tobytes()
    for name, value in told.items():
        setattr(held, name, value)
    return held


def series(folder: Path, array: NDArray[Any], *left_out: int, **told: Any) -> None:
    """A file for each z, whose names are not in the order of space.

    left_out: the slices that are missing
    """
    folder.mkdir(exist_ok=True)
    for z in set(range(array.shape[2])) - set(left_out):
        place = np.array([1, 2, 3]) + TURN[:, 2] * EDGES[2] * z
        own = {
            "ImagePositionPatient": place.tolist(),
            "ImageOrientationPatient": [*TURN[:, 0], *TURN[:, 1]],
            "PixelSpacing": [EDGES[1], EDGES[0]],
            "SliceThickness": EDGES[2],
            "InstanceNumber": 100 - z,
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            **{name: value(z) if callable(value) else value for name, value in told.items()},
        }
        number = own["InstanceNumber"]
        held = dataset(array[:, :, z], **own)
        name = f"IM{number * 7 % 1009}-{own.get('SeriesNumber', 4)}"
        held.save_as(folder / name, enforce_file_format=True)


def values(grid: Grid) -> NDArray[np.float32]:
    assert grid.topology.box is not None
    return grid.dense(grid.topology.box)[..., 0]


def matrix() -> NDArray[np.float64]:
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = TURN * EDGES, (1, 2, 3)
    return found


def test_a_series_is_put_in_order_and_keeps_its_units(tmp_path: Path) -> None:
    series(tmp_path / "a scan", numbers())
    assert files.is_volume(tmp_path / "a scan") and not files.is_volume(tmp_path)
    (grid,) = files.read(tmp_path / "a scan").grids
    assert grid.name == "Head" and np.array_equal(values(grid), numbers() - 1024.0)
    np.testing.assert_allclose(grid.transform.array().T, matrix())
    nrrd = pytest.importorskip("nrrd")
    data, _ = inrv.encode_bytes(tmp_path / "a scan", EncodeOptions(max_error=0.5))
    assert files.write(tmp_path / "ct.nrrd", inrv.load(data, "cpu").to_sparse()) == []
    found, header = nrrd.read(str(tmp_path / "ct.nrrd"))
    assert found.dtype == np.int16 and np.array_equal(found, numbers() - 1024)
    assert header["space"] == "left-posterior-superior"


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    series(tmp_path, numbers())
    series(tmp_path, numbers(), SeriesInstanceUID="1.2.4", SeriesNumber=5)
    one = next(path for path in tmp_path.iterdir() if path.name.endswith("-5"))
    assert files.read(one).grids[0].topology.active_voxel_count == numbers().size
    (alone,) = files.read(one.read_bytes()).grids
    assert alone.topology.active_voxel_count == SHAPE[0] * SHAPE[1]


def test_patients_are_not_kept(tmp_path: Path) -> None:
    series(tmp_path, numbers())
    text = files.read(tmp_path).grids[0].metadata["image_source"].value
    assert isinstance(text, str) and '"Modality": "CT"' in text and '"WindowWidth": 400.0' in text
    assert not any(own in text for own in ("Doe", "12345", "2020", "1.2.3"))


def test_a_slope_is_kept_with_the_stored_numbers(tmp_path: Path) -> None:
    series(tmp_path, numbers("uint16"), RescaleSlope=0.25, RescaleIntercept=0)
    volume = files.read(tmp_path)
    assert np.array_equal(values(volume.grids[0]), numbers() * 0.25)
    nibabel = pytest.importorskip("nibabel")
    files.write(tmp_path / "pet.nii", volume)
    back = nibabel.load(tmp_path / "pet.nii").dataobj
    assert back.slope == 0.25 and np.array_equal(back.get_unscaled(), numbers())


def test_slices_of_several_slopes_are_values(tmp_path: Path) -> None:
    series(tmp_path, numbers("uint16"), RescaleSlope=lambda z: 1 + z / 4, RescaleIntercept=0)
    (grid,) = files.read(tmp_path).grids
    assert np.array_equal(values(grid), numbers() * (1 + np.arange(8) / 4))


def test_moments_of_a_series_are_grids(tmp_path: Path) -> None:
    series(tmp_path, numbers())
    series(tmp_path, numbers() + 1, InstanceNumber=lambda z: 200 - z)
    first, second = files.read(tmp_path).grids
    assert (first.name, second.name) == ("Head.0", "Head.1")
    assert np.array_equal(values(second), values(first) + 1)


def test_one_of_several_series_is_chosen(tmp_path: Path) -> None:
    series(tmp_path, numbers())
    series(tmp_path, numbers(), SeriesInstanceUID="1.2.4", SeriesNumber=5, SeriesDescription="Neck")
    assert [own.name for own in files.list_grids(tmp_path)] == ["Head", "Neck"]
    with pytest.raises(OptionError, match=r"2 series.*0: 'Head' \(series 4, CT, 8 slices\); 1: 'N"):
        files.read(tmp_path)
    assert files.read(tmp_path, ["Neck"]).grids[0].name == "Neck"
    assert [own.name for own in files.read(tmp_path, [1, 0]).grids] == ["Neck", "Head"]


def test_a_tilted_gantry_is_kept_in_the_matrix(tmp_path: Path) -> None:
    tilt = TURN[:, 2] * 2 + TURN[:, 1] * 0.4
    series(tmp_path, numbers(), ImagePositionPatient=lambda z: (tilt * z).tolist())
    (grid,) = files.read(tmp_path).grids
    np.testing.assert_allclose(grid.transform.array().T[:3, 2], tilt)


def test_what_is_no_volume_is_one_line(tmp_path: Path) -> None:
    def place(z: int) -> list[float]:
        return (TURN[:, 2] * (z + 0.3 * (z == 4))).tolist()

    series(tmp_path / "missing", numbers(), 3)
    series(tmp_path / "uneven", numbers(), ImagePositionPatient=place)
    series(tmp_path / "sizes", numbers(), PixelSpacing=lambda z: [1.0, 1.0 + z])
    series(tmp_path / "turned", numbers(), ImageOrientationPatient=lambda z: [1, 0, 0, 0, 1 - z, z])
    series(tmp_path / "nowhere", numbers(), ImagePositionPatient=None)
    series(tmp_path / "colours", numbers(), PhotometricInterpretation="PALETTE COLOR")
    series(tmp_path / "short", numbers(), Rows=5000)
    series(tmp_path / "half", numbers())
    series(tmp_path / "half", numbers(), 0, 1, InstanceNumber=lambda z: 200 - z)
    for name, why in [
        ("missing", "1 slices seem to be missing: those at 5 and 9 mm are 4 mm apart"),
        ("uneven", "unevenly spaced"),
        ("sizes", "pixels of several sizes"),
        ("turned", "several directions"),
        ("nowhere", "has no ImagePositionPatient"),
        ("colours", "in colours"),
        ("short", "bytes where 120,000 belong"),
        ("half", "2 of its slices lie at"),
    ]:
        with pytest.raises(ImageFileError, match=why) as caught:
            files.read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_frames_of_an_enhanced_file(tmp_path: Path) -> None:
    shared, frames = pydicom.Dataset(), []
    measures, turned, scaled = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [EDGES[1], EDGES[0]], EDGES[2]
    turned.ImageOrientationPatient = [*TURN[:, 0], *TURN[:, 1]]
    scaled.RescaleSlope, scaled.RescaleIntercept = 1, -1024
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    shared.PixelValueTransformationSequence = [scaled]
    for z in reversed(range(SHAPE[2])):
        place, frame = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = (np.array([1, 2, 3]) + TURN[:, 2] * EDGES[2] * z).tolist()
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    held = dataset(
        numbers()[:, :, ::-1], NumberOfFrames=SHAPE[2],
        SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=frames,
    )  # fmt: skip
    held.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    (grid,) = files.read(tmp_path / "ct.dcm").grids
    assert np.array_equal(values(grid), numbers() - 1024.0)
    np.testing.assert_allclose(grid.transform.array().T, matrix())


def test_a_loss_is_told_where_it_is_written_out(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    series(tmp_path / "ct", numbers())
    for bound, told in ((0.5, []), ("2%", ["grid 'Head' was coded with a loss: lossy image"])):
        options = EncodeOptions(max_error=bound, exact_below=0, effort="instant")
        data, _ = inrv.encode_bytes(tmp_path / "ct", options)
        volume = inrv.load(data, "cpu")
        lost = files.write(tmp_path / "back.nii", volume.to_sparse())
        assert [line.split(" compression ")[0] for line in lost] == told
        assert (volume.grids[0].lossy_ratio is not None) == bool(told)
    assert bytes(nibabel.load(tmp_path / "back.nii").header["descrip"]).startswith(b"lossy image")


def test_simpleitk_reads_the_same(tmp_path: Path) -> None:
    library = pytest.importorskip("SimpleITK")
    series(tmp_path, numbers("uint16"))
    reader = library.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    (grid,) = files.read(tmp_path).grids
    assert np.array_equal(library.GetArrayFromImage(image).T, values(grid))
    here = [3, 4, 5, 1] @ grid.transform.array()
    np.testing.assert_allclose(here[:3], image.TransformIndexToPhysicalPoint((3, 4, 5)))


def test_packed_pictures_are_read_by_gdcm(tmp_path: Path) -> None:
    pytest.importorskip("gdcm")
    library = pytest.importorskip("SimpleITK")
    writer = library.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetFileName(str(tmp_path / "one.dcm"))
    writer.Execute(library.GetImageFromArray(numbers("uint16").T[:1]))
    held = pydicom.dcmread(tmp_path / "one.dcm", stop_before_pixels=True)
    assert held.file_meta.TransferSyntaxUID.is_compressed
    (grid,) = files.read(tmp_path / "one.dcm").grids
    assert np.array_equal(values(grid), numbers()[:, :, :1])


def test_dicom_files_are_not_written(tmp_path: Path) -> None:
    series(tmp_path / "ct", numbers())
    with pytest.raises(OptionError, match=r"out\.dcm: such files are read and not written"):
        files.write(tmp_path / "out.dcm", files.read(tmp_path / "ct"))
    assert os.listdir(tmp_path) == ["ct"]
