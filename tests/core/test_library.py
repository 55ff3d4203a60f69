"""The C core: it loads, all of it is declared, and its errors become exceptions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inrv.core import library
from inrv.errors import FormatError, InrvError

ROOT = Path(__file__).resolve().parents[2]
OTHER_CALLERS = [
    ROOT / "testing" / "core_files.py",
    ROOT / "codec" / "core" / "examples" / "value_at.c",
]
HEADERS = [path.read_text() for path in sorted((ROOT / "codec" / "core").glob("*.h"))]


def test_the_library_has_the_version_of_the_package() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert library.library().inrv_version().decode() == version


def test_python_and_the_header_name_the_same_sets() -> None:
    sets = re.findall(r"#define INRV_SET_(\w+) (\d+)u", "\n".join(HEADERS))
    assert {name.lower(): int(bit) for name, bit in sets} == library.INSTRUCTION_SETS


def test_every_function_of_the_headers_is_declared_in_python() -> None:
    declared = re.findall(r"^INRV_API ([^;]*?) ?\*?(inrv_\w+)\(", "\n".join(HEADERS), re.M)
    # Python has a reader of files of its own: these are for programs in C.
    others = "\n".join(path.read_text() for path in OTHER_CALLERS)
    for_c = set(re.findall(r"inrv_\w+", others)) - library._INFALLIBLE.keys()
    fallible = {name for result, name in declared if result == "int"}
    assert len(declared) > 5 and fallible - for_c == set(library._FUNCTIONS)
    assert {name for _, name in declared} - fallible - for_c == set(library._INFALLIBLE)


def test_error_numbers_become_exceptions() -> None:
    library.raise_error(0, "inrv_decode_region")
    with pytest.raises(MemoryError):
        library.raise_error(1, "inrv_decode_region")
    with pytest.raises(FormatError, match=r"rule F6 .* \[F6\]") as caught:
        library.raise_error(ord("F") << 8 | 6, "inrv_decode_region")
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
