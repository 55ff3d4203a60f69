"""The C core: it loads, its variants agree, and its errors become exceptions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inrv.core import library
from inrv.errors import FormatError, InrvError

ROOT = Path(__file__).resolve().parents[2]
HEADER = "".join(path.read_text() for path in sorted((ROOT / "codec" / "core").glob("*.h")))
HERE = [
    pytest.param(bit, id=name)
    for name, bit in library.INSTRUCTION_SETS.items()
    if bit & library.library().inrv_instruction_sets()
]


def test_the_library_has_the_version_of_the_package() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert library.library().inrv_version().decode() == version


def test_python_and_the_header_name_the_same_sets() -> None:
    sets = re.findall(r"#define INRV_SET_(\w+) (\d+)u", HEADER)
    assert {name.lower(): int(bit) for name, bit in sets} == library.INSTRUCTION_SETS


def test_every_function_of_the_header_is_declared_in_python() -> None:
    functions = set(re.findall(r"^INRV_API .*?(inrv_\w+)\(", HEADER, re.M))
    assert functions == {*library._INFALLIBLE, *library._FUNCTIONS}


@pytest.mark.parametrize("sets", HERE)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 31, 32, 33, 1000])
def test_every_variant_computes_the_same(sets: int, count: int) -> None:
    chance = np.random.default_rng(count)
    a, b = chance.integers(-128, 128, (2, count), np.int8)
    found = np.zeros(1, np.int32)
    library.library().inrv_dot(sets, a, b, count, found)
    assert found[0] == a.astype(int) @ b.astype(int)


def test_an_unknown_set_of_instructions_is_the_callers_mistake() -> None:
    nothing = np.zeros(1, np.int8)
    with pytest.raises(ValueError, match="inrv_dot: an argument"):
        library.library().inrv_dot(0, nothing, nothing, 1, np.zeros(1, np.int32))


def test_error_numbers_become_exceptions() -> None:
    library.raise_error(0, "inrv_dot")
    with pytest.raises(MemoryError):
        library.raise_error(1, "inrv_dot")
    with pytest.raises(FormatError, match=r"rule F6 .* \[F6\]") as caught:
        library.raise_error(ord("F") << 8 | 6, "inrv_dot")
    assert caught.value.id == "F6"


def test_a_missing_or_damaged_library_says_how_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / library.LIBRARY.name
    with pytest.raises(InrvError, match=r"is not at .*make core"):
        library.load(path)
    path.write_bytes(b"no library")
    with pytest.raises(InrvError, match=r"is not the one expected .*make core"):
        library.load(path)


@pytest.mark.parametrize("name", ["plain", "avx1024"])
def test_a_variable_of_the_environment_chooses_the_kernels(name: str) -> None:
    code = "from inrv.core.library import instruction_sets; print(instruction_sets())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "INRV_KERNEL": name, "PYTHONPATH": str(ROOT / "codec")},
        capture_output=True,
        text=True,
        check=False,
    )
    if name == "plain":
        assert done.stdout == "1\n", done.stderr
    else:
        assert "INRV_KERNEL is 'avx1024', but the kernels that run here are plain" in done.stderr
