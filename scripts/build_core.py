"""Compiles the C core: `python scripts/build_core.py` makes the library beside the package.

setup.py calls this for installations and wheels, the Makefile and the tests for the rest. It needs
nothing but Python, and a C compiler: $CC, else cc, gcc or clang, else the package ziglang.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "codec" / "core"
OBJECTS = ROOT / "build" / "core"
# What the format ships, by its name in codec/core/data.h.
DATA = {
    "dictionary": ROOT / "codec" / "inrv" / "container" / "dictionary-1.bin",
    "prior": ROOT / "codec" / "inrv" / "entropy" / "masks" / "prior-1.bin",
    "networks": ROOT / "codec" / "inrv" / "fields" / "lattice" / "default.safetensors",
}
ZIG = (sys.executable, "-m", "ziglang", "cc")
WASM = "wasm32-wasi"  # its libc brings malloc; nothing of WASI itself is used

# Integers are exact everywhere; these keep floating point so, too: no fused operations but those
# that the source writes, and nothing that follows from errno or traps.
FLAGS = "-std=gnu11 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno"
FLAGS += " -fno-trapping-math -fwrapv -Wall -Wextra -Wno-psabi"
AVX2 = "-mavx2 -mfma -mbmi -mbmi2 -mlzcnt -mpopcnt"
AVX512 = f"{AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"

# The variants of the kernels: codec/core/kernel.h. cpu.c asks the machine for the same sets.
VARIANTS = {
    "x86_64": {
        "plain": "-DINRV_PLAIN",
        "sse4": "-msse4.1 -mpopcnt",
        "avx2": AVX2,
        "avx512": AVX512,
    },
    "aarch64": {"plain": "-DINRV_PLAIN", "neon": ""},
    "wasm32": {"plain": "-DINRV_PLAIN", "simd128": "-msimd128"},
}
LIBRARY = "_core" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


class BuildError(Exception):
    """The core cannot be compiled; the message says what to do."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that takes the options of gcc.

    command: what starts it, with what every call gets
    target: the machine that it compiles for, where that is not this one
    """

    command: tuple[str, ...]
    target: str = ""

    @cached_property
    def triple(self) -> str:
        """The machine that it compiles for, such as x86_64-linux-gnu."""
        return self.target or self.run("-dumpmachine").split()[-1].lower()

    @property
    def machine(self) -> str:
        """The key of that machine in VARIANTS; others have the plain kernels."""
        name = self.triple.split("-")[0]
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)

    @property
    def variants(self) -> dict[str, str]:
        """The variants of the kernels for that machine, with their flags."""
        return VARIANTS.get(self.machine, {"plain": "-DINRV_PLAIN"})

    @cached_property
    def version(self) -> str:
        """What it says of itself."""
        with tempfile.TemporaryDirectory() as folder:  # zig for macOS leaves an empty a.o behind
            return self.run("--version", folder=folder)

    def run(self, *arguments: str, folder: str | None = None) -> str:
        """Run it, in a folder or the working directory, and return what it prints."""
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be started: {error}") from error
        if done.returncode:
            raise BuildError(f"{shlex.join(command)}\n{done.stderr or done.stdout}")
        sys.stderr.write(done.stderr)
        return done.stdout

    def works(self, *more: str) -> bool:
        """Whether it links a library, knows the instructions of all variants, and more options."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "empty.c")
            source.write_text("#include <string.h>\nint inrv(void) { return 0; }\n")
            try:
                options = [*" ".join([FLAGS, *self.variants.values()]).split(), *more]
                self.run(*options, "-shared", str(source), "-o", str(Path(folder, "empty")))
            except BuildError:
                return False
        return True


def zig(target: str = "") -> Compiler:
    """The compiler of the package ziglang, for this machine or another."""
    # Left alone, zig compiles for the very processor that it runs on.
    return Compiler((*ZIG, *(("-target", target) if target else ("-mcpu=baseline",))), target)


def system_compiler() -> Compiler | None:
    """$CC, or the first of cc, gcc and clang that works; None where there is none."""
    if named := os.environ.get("CC"):
        compiler = Compiler(tuple(shlex.split(named)))
        if not compiler.works():
            raise BuildError(f"$CC, {named!r}, does not compile the core: gcc and clang do")
        return compiler
    found = (Compiler((name,)) for name in ("cc", "gcc", "clang") if shutil.which(name))
    return next((compiler for compiler in found if compiler.works()), None)


def find_compiler() -> Compiler:
    """The compiler of the system, else that of the package ziglang."""
    if compiler := system_compiler():
        return compiler
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError("no C compiler found: install gcc or clang, or `pip install ziglang`")
    return zig()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process compiles into a folder: it may make what this one needs."""
    with open(folder / "lock", "w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_data(folder: Path) -> Path:
    """Write what the format ships as a C file, unless it is there; return it.

    folder: where it goes
    """
    parts = ['#include "data.h"\n']
    for name, path in DATA.items():
        data = path.read_bytes()
        rows = (data[first : first + 24] for first in range(0, len(data), 24))
        lines = ",\n".join(",".join(map(str, row)) for row in rows)
        parts.append(f"const uint8_t inrv_data_{name}[] = {{\n{lines}}};\n")
        parts.append(f"const size_t inrv_data_{name}_size = {len(data)};\n")
    target, text = folder / "data.c", "".join(parts)
    if not target.exists() or target.read_text() != text:
        half = target.with_suffix(f".{os.getpid()}")
        half.write_text(text)
        os.replace(half, target)
    return target


def compile_objects(
    compiler: Compiler,
    extra: Iterable[str] = (),
    only: str = "",
    sources: Sequence[Path] = (),
    folder: Path = OBJECTS,
) -> list[Path]:
    """Compile the core, and return the object files; those that are still good stay.

    extra: options to add
    only: the one variant of the kernels to compile; all of them without it
    sources: C files besides those of the core
    folder: where the object files go
    """
    folder.mkdir(parents=True, exist_ok=True)
    headers = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.h")))
    common = (*FLAGS.split(), f"-I{SOURCES}", *extra)
    variants = {only: compiler.variants[only]} if only else compiler.variants
    present = [f"-DINRV_HAS_{name.upper()}" for name in variants]
    jobs = list[tuple[Path, str, tuple[str, ...]]]()
    for path in (*sorted(SOURCES.glob("*.c")), write_data(folder), *sources):
        if not path.stem.endswith("kernel"):
            jobs.append((path, path.stem, (*common, *present)))
            continue
        for name, flags in variants.items():
            options = (*common, *flags.split(), f"-DINRV_VARIANT={name}")
            jobs.append((path, f"{path.stem}-{name}", options))

    def compiled(job: tuple[Path, str, tuple[str, ...]]) -> Path:
        path, name, options = job
        key = hashlib.sha256(headers + path.read_bytes())
        key.update(repr((compiler, compiler.version, options)).encode())
        target = folder / f"{name}-{key.hexdigest()[:16]}.o"
        if not target.exists():
            half = target.with_suffix(f".{os.getpid()}")
            compiler.run(*options, "-c", str(path), "-o", str(half))
            os.replace(half, target)
        return target

    with alone(folder), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compiled, jobs))


def link(
    compiler: Compiler,
    objects: Sequence[Path],
    output: Path,
    flags: Iterable[str],
    folder: Path = OBJECTS,
) -> None:
    """Link object files to a library or a program, unless it is made of them already.

    output: the library or program; it appears whole or not at all
    flags: options of the linker
    folder: where it is noted what the output is made of
    """
    flags = list(flags)
    made_of = repr((output, [path.name for path in objects], flags))
    note = folder / f"{hashlib.sha256(str(output).encode()).hexdigest()[:16]}.linked"
    if output.exists() and note.exists() and note.read_text() == made_of:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    # Some linkers put more beside it, which would get into wheels.
    with tempfile.TemporaryDirectory(dir=output.parent) as place:
        half = Path(place, output.name)
        compiler.run(*map(str, objects), *flags, "-o", str(half))
        os.replace(half, output)  # who has the old one loaded keeps it
    note.write_text(made_of)


def library_flags(compiler: Compiler) -> list[str]:
    """Options that link a shared library or a WebAssembly module.

    There is no -lm: what its functions return differs from one system to another.
    """
    if "wasm" in compiler.triple:
        # No program, but functions for a caller, who needs malloc and free to hand over memory.
        options = ("--export-dynamic", "--export=malloc", "--export=free", "-z,stack-size=262144")
        return ["-mexec-model=reactor", "-s", *(f"-Wl,{option}" for option in options)]
    if re.search("darwin|macos", compiler.triple):
        return ["-shared"]
    windows = re.search("windows|mingw|cygwin", compiler.triple)
    return ["-shared", "-s", *([] if windows else ["-Wl,-z,defs"])]


def build_library(
    compiler: Compiler,
    output: Path,
    extra: Iterable[str] = (),
    only: str = "",
    folder: Path = OBJECTS,
) -> Path:
    """Compile and link the core, as far as that is necessary; return the library.

    output: the library
    extra: options of the compiler to add
    only: the one variant of the kernels to compile; all of them without it
    folder: where the object files go
    """
    objects = compile_objects(compiler, extra, only, folder=folder)
    link(compiler, objects, output, library_flags(compiler), folder)
    return output


def build_wasm(variant: str, extra: Iterable[str] = ()) -> Path:
    """Compile the core to WebAssembly, as far as that is necessary; return the module.

    variant: plain or simd128. A module has one: where vectors are not known, one that has them
        does not load
    extra: options of the compiler to add
    """
    return build_library(zig(WASM), ROOT / "build" / f"inrv-{variant}.wasm", extra, variant)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    parser.add_argument(
        "--wasm", action="store_true", help="make build/inrv-*.wasm instead, by ziglang"
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        help="write data.c there instead, for who compiles codec/core/*.c in another way",
    )
    options = parser.parse_args()
    extra = ["-Werror"] if options.strict else []
    try:
        if options.data:
            print(write_data(options.data))
        elif options.wasm:
            for variant in VARIANTS["wasm32"]:
                print(build_wasm(variant, extra))
        else:
            print(build_library(find_compiler(), ROOT / "codec" / "inrv" / LIBRARY, extra))
    except BuildError as error:
        sys.exit(f"build_core: {error}")


if __name__ == "__main__":
    main()
