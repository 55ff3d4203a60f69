"""Builds the viewer: `python scripts/build_viewer.py` makes the page that `inrv view` shows.

It needs Node.js with npm, and the package ziglang. The page, with the core as WebAssembly in it,
goes beside the package; the npm package of the decoder goes to viewer/dist.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from build_core import (
    OBJECTS,
    ROOT,
    WASM,
    BuildError,
    alone,
    compile_objects,
    library_flags,
    link,
    zig,
)

VIEWER = ROOT / "viewer"
DIST = VIEWER / "dist"
PAGE = ROOT / "codec" / "inrv" / "viewer" / "page.html"
MODULE = ROOT / "build" / "inrv-browser.wasm"
ZSTD = VIEWER / "node_modules" / "zstd-napi" / "deps" / "zstd" / "lib"  # zstd's own source
ZSTD_FLAGS = ("-w", "-DZSTD_DISABLE_ASM", "-DDYNAMIC_BMI2=0", f"-I{ZSTD}")
INSTALLED = VIEWER / "node_modules" / ".installed"


def run(*command: str) -> None:
    """Run a command in the folder of the viewer. Raises BuildError."""
    found = shutil.which(command[0])
    if found is None:
        raise BuildError(f"{command[0]} is not found: the viewer is built with Node.js 20 or later")
    done = subprocess.run([found, *command[1:]], cwd=VIEWER, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def install() -> None:
    """Install what package-lock.json names, where that has changed."""
    lock = VIEWER / "package-lock.json"
    if not INSTALLED.exists() or INSTALLED.read_text() != lock.read_text():
        run("npm", "ci", "--no-progress")
        INSTALLED.write_text(lock.read_text())


def build_module() -> Path:
    """Compile the core and zstd's decoder to one WebAssembly module."""
    compiler = zig(WASM)
    # The same options for all: those of zstd's files change nothing of the core.
    zstd = [*sorted(ZSTD.glob("common/*.c")), *sorted(ZSTD.glob("decompress/*.c"))]
    sources = [VIEWER / "decoder" / "unzstd.c", *zstd]
    objects = compile_objects(compiler, ZSTD_FLAGS, "simd128", sources, OBJECTS)
    link(compiler, objects, MODULE, library_flags(compiler), OBJECTS)
    return MODULE


def build_viewer() -> Path:
    """Build all of it, as far as that is necessary; return the page."""
    VIEWER.joinpath("node_modules").mkdir(exist_ok=True)
    with alone(VIEWER / "node_modules"):
        install()
        module = build_module()
        sources = [
            module,
            ROOT / "spec" / "errors.md",
            *(path for path in VIEWER.glob("*.*") if path.is_file()),
            *VIEWER.glob("decoder/*"),
            *VIEWER.glob("page/*"),
        ]
        newest = max(path.stat().st_mtime for path in sources)
        if not PAGE.exists() or PAGE.stat().st_mtime < newest:
            run("npx", "tsc", "--emitDeclarationOnly")  # it checks the types as well
            run("node", "build.mjs", str(module), str(DIST))
            half = PAGE.with_suffix(".half")
            shutil.copyfile(DIST / "page.html", half)
            os.replace(half, PAGE)
    return PAGE


if __name__ == "__main__":
    try:
        print(build_viewer())
    except BuildError as error:
        sys.exit(f"build_viewer: {error}")
