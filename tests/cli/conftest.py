"""Small volumes on disk, and the command line called as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import inrv
from inrv_cli.main import cli

Run = Callable[..., Result]


def density(phase: float = 0.0, shape: tuple[int, int, int] = (17, 16, 19)) -> np.ndarray:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    values = np.exp(-2 * (x**2 + y**2 + z**2)) * (1 + 0.2 * np.sin(5 * z + phase))
    return np.where(values > 0.25, values, 0).astype(np.float32)


def scene(phase: float = 0.0) -> inrv.SparseVolume:
    """Fog with metadata, a vector grid, an empty grid."""
    from inrv.grids import sparse_grid

    fog = density(phase)
    note = {"author": inrv.MetaValue("string", "tests"), "frame": inrv.MetaValue("int32", 7)}
    transform = inrv.Transform.from_voxel_size(0.5, (1.0, 2.0, 3.0))
    first = sparse_grid(fog, "density", transform)
    velocity = sparse_grid(
        np.stack([fog, fog * 2, 1 - fog], 3), "velocity", transform, active=fog > 0
    )
    empty = sparse_grid(np.zeros((8, 8, 8), np.float32), "flame", transform)
    return inrv.SparseVolume(
        (inrv.Grid(**{**vars(first), "metadata": note}), velocity, empty), note
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scene.vdb, and scene.inrv made from it; to be read only."""
    from inrv.files.vdb import write_volume

    folder = tmp_path_factory.mktemp("library")
    write_volume(folder / "scene.vdb", scene())
    inrv.encode(
        folder / "scene.vdb",
        folder / "scene.inrv",
        inrv.EncodeOptions(epochs=60, values_per_weight=8, exact_below=0, device="cpu"),
    )
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("encode", path)` within an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(
            cli, [str(argument) for argument in arguments], input=stdin, prog_name="inrv"
        )
        unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
        assert not unforeseen, result.exception
        return result

    return call
