"""The C core compiles for other machines, with every compiler here, and C programs use it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import inrv
from fixtures.make_golden import FOLDER
from inrv.core import library
from scripts import build_core
from scripts.build_core import BuildError, Compiler
from testing.rebuild import uncompressed, uncompressed_sequence

EXAMPLE = build_core.SOURCES / "examples" / "value_at.c"
HEADER = build_core.SOURCES / "inrv.h"
COMPILER = build_core.find_compiler()


def run_program(source: Path, folder: Path, *arguments: str, links: Sequence[str] = ()) -> str:
    """Compile a C program that uses the library as anyone would, and return what it prints.

    links: options of the linker besides
    """
    program = folder / source.stem
    place = library.LIBRARY.parent
    options = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"]
    libraries = [str(library.LIBRARY), f"-Wl,-rpath,{place}"]
    COMPILER.run(*options, str(source), *libraries, *links, "-o", str(program))
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_program_in_c_uses_the_library(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(
        "#include <inrv.h>\n#include <stdio.h>\n"
        'int main(void) { return printf("%s %u\\n", inrv_version(), inrv_instruction_sets()) < 0; }'
    )
    version, sets = run_program(source, tmp_path).split()
    assert version == library.library().inrv_version().decode()
    assert int(sets) == library.library().inrv_instruction_sets()


def has_zstd_header(folder: Path) -> bool:
    """Whether the compiler finds zstd.h, and so whether the example reads what is compressed."""
    source = folder / "has_zstd.c"
    source.write_text("#include <zstd.h>")
    try:
        COMPILER.run("-fsyntax-only", str(source))
    except BuildError:
        return False
    return True


@pytest.mark.parametrize("name", ["lattice", "frequent", "no_field"])
def test_the_example_prints_a_value_at_a_point(tmp_path: Path, name: str) -> None:
    data, path = (FOLDER / f"{name}.inrv").read_bytes(), tmp_path / "volume.inrv"
    zstd = has_zstd_header(tmp_path)
    path.write_bytes(data if zstd else uncompressed(data))
    grid = next(iter(inrv.load(data).values()))
    lower, upper = grid.box.lower, grid.box.upper
    index = [(2 * low + high) / 3 for low, high in zip(lower, upper, strict=True)]
    world = grid.transform.index_to_world(np.array([index]))
    point = [f"{number:.17g}" for number in world[0]]
    links = ["-lzstd"] if zstd else []
    printed = run_program(EXAMPLE, tmp_path, str(path), grid.name, *point, links=links)
    head, value, *_ = printed.splitlines()
    voxels = grid.entry.active_voxels
    assert head == f"{grid.name}: {grid.entry.value_type}, {voxels} active voxels"
    assert float(value) == pytest.approx(float(grid.sample(world, space="world")[0]), rel=1e-5)


def test_the_example_takes_a_frame_of_a_sequence(tmp_path: Path) -> None:
    path, fog = tmp_path / "run.inrv", np.linspace(1, 2, 512, dtype=np.float32).reshape(8, 8, 8)
    with inrv.SequenceWriter(path, inrv.EncodeOptions(effort="instant")) as writer:
        for number in (1, 2.5, 4):
            writer.add(None, {"density": fog * number}, number=number)
    zstd = has_zstd_header(tmp_path)
    path.write_bytes(path.read_bytes() if zstd else uncompressed_sequence(path.read_bytes()))
    links = ["-lzstd"] if zstd else []
    for frame in ([], ["2.5"], ["4"]):
        arguments = [str(path), "density", "0", "0", "0", *frame]
        _, value = run_program(EXAMPLE, tmp_path, *arguments, links=links).splitlines()
        expected = inrv.load(path, frame=float(*frame or "1"))["density"].sample([[0, 0, 0]])
        assert float(value) == pytest.approx(float(expected[0]), rel=1e-6)


def test_the_header_is_one_for_cpp_too(tmp_path: Path) -> None:
    try:
        COMPILER.run("-x", "c++", "-fsyntax-only", "/dev/null")
    except BuildError:
        pytest.skip("the C compiler here knows no C++")
    COMPILER.run("-x", "c++", "-std=c++11", "-pedantic-errors", "-fsyntax-only", str(HEADER))


@pytest.mark.parametrize("target", ["aarch64-linux-gnu", "aarch64-macos", "x86_64-windows-gnu"])
def test_it_compiles_for_other_machines(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.chdir(tmp_path)
    compiler = build_core.zig(target)
    assert {"aarch64": 2, "x86_64": 4}[compiler.machine] == len(compiler.variants)
    assert build_core.compile_objects(compiler, ["-Werror", "-O0"])
    assert list(tmp_path.iterdir()) == []


def test_plain_c_needs_no_options(tmp_path: Path) -> None:
    """Who has another build system compiles all files alike, and has the plain kernels."""
    data = build_core.write_data(tmp_path)
    sources = [str(path) for path in [*sorted(build_core.SOURCES.glob("*.c")), data]]
    include = f"-I{build_core.SOURCES}"
    COMPILER.run("-O1", "-shared", "-fPIC", include, *sources, "-o", str(tmp_path / "plain.so"))
    assert library.load(tmp_path / "plain.so").inrv_instruction_sets() == 1


def test_the_library_depends_on_no_python() -> None:
    """No name of Python's is in it, and none of the mathematical library."""
    data = library.LIBRARY.read_bytes()
    assert b"PyObject" not in data and b"libm.so" not in data and b"libpython" not in data


def test_what_does_not_compile_is_an_error_that_shows_it(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int wrong(void) { return missing; }")
    with pytest.raises(BuildError, match="missing"):
        build_core.compile_objects(COMPILER, ["-O0"], "plain", [source], tmp_path)


def test_a_named_compiler_that_fails_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nobody")
    with pytest.raises(BuildError, match=r"\$CC, 'nobody'"):
        build_core.find_compiler()


def test_without_a_compiler_there_is_the_one_of_ziglang(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert build_core.find_compiler() == build_core.zig()


def test_what_has_not_changed_is_not_compiled_again(tmp_path: Path) -> None:
    target = tmp_path / "inside" / build_core.LIBRARY

    def built(*options: str) -> int:
        library = build_core.build_library(COMPILER, target, ["-O0", *options], "plain", tmp_path)
        return library.stat().st_mtime_ns

    first = built()
    assert built() == first
    assert built("-DSOMETHING") > first
    with pytest.raises(BuildError, match="nobody cannot be started"):
        build_core.build_library(Compiler(("nobody",)), target)
    assert library.load(target).inrv_version()
    assert [path.name for path in target.parent.iterdir()] == [build_core.LIBRARY]
