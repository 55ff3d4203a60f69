"""What is compiled is kept on disk, and whatever is wrong there is as if nothing were."""

import importlib.util
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest

from inrv.support.compiled import Kept

SOURCE = """
from inrv.support.compiled import compiled
from limits_of_a_test import LIMIT

@compiled
def total(values):
    result = 0
    for value in values:
        result += min(value, LIMIT)
    return result
"""
numbers = itertools.count()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Imports a module of one function anew, as another process would."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Kept, "warned", False)
    (tmp_path / "kernels.py").write_text(SOURCE)

    def load(limit: int = 10) -> ModuleType:
        limits = ModuleType("limits_of_a_test")
        limits.LIMIT = limit  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "limits_of_a_test", limits)
        spec = importlib.util.spec_from_file_location(
            f"kernels_{next(numbers)}", tmp_path / "kernels.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def total(module: ModuleType) -> int:
    return int(module.total(np.arange(20)))


def hits(module: ModuleType) -> int:
    return sum(module.total.stats.cache_hits.values())


def kept(folder: Path) -> list[Path]:
    return [path for path in (folder / "cache").rglob("*") if path.is_file()]


def test_the_next_process_need_not_compile(
    kernel: Callable[..., ModuleType], tmp_path: Path
) -> None:
    assert total(kernel()) == 145 and len(kept(tmp_path)) == 1
    again = kernel()
    assert total(again) == 145 and hits(again) == 1


def test_another_value_of_an_imported_constant_is_another_function(
    kernel: Callable[..., ModuleType],
) -> None:
    assert total(kernel()) == 145
    assert total(kernel(limit=5)) == 85


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "zeros", "no pickle"])
def test_a_damaged_file_is_replaced(
    damage: str, kernel: Callable[..., ModuleType], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    total(kernel())
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "empty": b"",
            "cut": whole[:half],
            "flipped": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
            "zeros": whole[:half] + bytes(len(whole) - half),
            "no pickle": bytes(len(whole)),
        }[damage]
    )
    assert total(kernel()) == 145
    assert len(caplog.records) <= 1 and all(
        str(tmp_path) in record.getMessage() for record in caplog.records
    )
    again = kernel()
    assert total(again) == 145 and hits(again) == 1


def test_files_that_cannot_be_read_or_replaced_are_told_of_once(
    kernel: Callable[..., ModuleType], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    total(kernel())
    (path,) = kept(tmp_path)
    path.unlink()
    path.mkdir()  # so that even root can neither read nor replace it
    module = kernel()
    assert total(module) == 145 and module.total(np.arange(20.0)) == 145
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and str(path.parent) in record.getMessage()


def test_a_full_disk_keeps_nothing_and_leaves_nothing(
    kernel: Callable[..., ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert total(kernel()) == 145 and kept(tmp_path) == []
    assert "No space left on device" in caplog.text and len(caplog.records) == 1


def test_a_file_in_place_of_the_folder_is_no_folder(
    kernel: Callable[..., ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert total(kernel()) == 145 and (tmp_path / "cache").read_text() == "no folder"


def test_the_command_says_it_in_one_line_and_goes_on(tmp_path: Path, fixtures: Path) -> None:
    source = fixtures / "golden" / "lattice.inrv"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "inrv_cli", "verify", "--decode", str(source)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    told = verify().stdout
    for path in tmp_path.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:-1])
    again = verify()
    assert (again.returncode, again.stdout) == (0, told)
    assert len(again.stderr.splitlines()) == 1 and "is damaged" in again.stderr
    assert verify().stderr == ""
