"""Builds the Blender extension: `python scripts/build_blender.py` makes dist/inrv-VERSION-*.zip.

Each zip is for one platform, and brings the wheels of the library and of what it needs. The core is
compiled for all platforms by the package ziglang; the other wheels come from PyPI. Blender brings
NumPy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import build_core

ROOT = build_core.ROOT
EXTENSION = ROOT / "integrations" / "blender" / "inrv_volumes"
MANIFEST = "blender_manifest.toml"
LICENSE = ROOT / "LICENSE"
# What opening, decoding and writing need: a part of the dependencies in pyproject.toml.
PACKAGES = ("safetensors", "zstandard", "numcodecs", "threadpoolctl", "typing_extensions")
PYTHONS = ("3.11", "3.13")  # of Blender 4.2 to 5.0, and of later ones


@dataclass(frozen=True)
class Platform:
    """A kind of machine that Blender runs on.

    name: as Blender calls it
    target: as zig calls it
    library: the name of the core there
    tags: of wheels that run there, the one of our own wheel first
    """

    name: str
    target: str
    library: str
    tags: tuple[str, ...]


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            "linux-x64",
            "x86_64-linux-gnu.2.17",
            "_core.so",
            ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"),
        ),
        Platform("windows-x64", "x86_64-windows-gnu", "_core.dll", ("win_amd64",)),
        Platform(
            "macos-arm64",
            "aarch64-macos.11.0",
            "_core.dylib",
            ("macosx_11_0_arm64", "macosx_12_0_arm64"),
        ),
    )
}


def python(*arguments: object) -> None:
    """Run a module of this Python. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, cwd=ROOT)


def universal_wheel(folder: Path) -> Path:
    """Build the wheel of the library for this machine, whose core is then replaced."""
    python("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    (wheel,) = folder.glob("inrv-*.whl")
    return wheel


def own_wheel(wheel: Path, platform: Platform, folder: Path) -> Path:
    """Make the wheel of a platform from that of this machine.

    wheel: that of this machine
    folder: where it goes
    """
    with tempfile.TemporaryDirectory() as place:
        python("wheel", "unpack", "-d", place, wheel)
        (unpacked,) = Path(place).iterdir()
        for core in (unpacked / "inrv").glob("_core.*"):
            core.unlink()
        build_core.build_library(
            build_core.zig(platform.target), unpacked / "inrv" / platform.library
        )
        packed = Path(place, "packed")
        packed.mkdir()
        python("wheel", "pack", "-d", packed, unpacked)
        (one,) = packed.iterdir()
        python("wheel", "tags", "--remove", "--platform-tag", platform.tags[0], one)
        (tagged,) = packed.iterdir()
        return Path(tagged.replace(folder / tagged.name))


def download(platform: Platform, folder: Path) -> None:
    """Download the wheels of the packages that a platform needs, for each Python."""
    tags = [word for tag in platform.tags for word in ("--platform", tag)]
    for version in PYTHONS:
        options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        chosen = ["-q", "--no-deps", "-c", ROOT / "constraints.txt", "-d", folder]
        python("pip", "download", *chosen, *options, *tags, *PACKAGES)


def manifest(text: str, version: str, platform: str, wheels: Iterable[str]) -> str:
    """Give the manifest of a zip.

    text: of the manifest among the sources
    version: of the library
    platform: as Blender calls it
    wheels: the names of the wheels
    """
    lines = ["wheels = ["]
    lines += [f'    "./wheels/{name}",' for name in sorted(wheels)]
    lines += ["]", f'platforms = ["{platform}"]']
    found = text.replace("wheels = []", "\n".join(lines))
    return found.replace('version = "0.0.0"', f'version = "{version}"')


def pack(platform: str, version: str, wheels: Sequence[Path], folder: Path) -> Path:
    """Make the zip of a platform, which has the same bytes wherever it is made of the same files.

    platform: as Blender calls it
    version: of the library
    wheels: all that it brings
    folder: where it goes
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {path.name: path.read_bytes() for path in EXTENSION.glob("*.py")}
    files["LICENSE"] = LICENSE.read_bytes()
    files |= {f"wheels/{path.name}": path.read_bytes() for path in wheels}
    names = [path.name for path in wheels]
    text = manifest((EXTENSION / MANIFEST).read_text(), version, platform, names)
    files[MANIFEST] = text.encode()
    target = folder / f"inrv-{version}-{platform.replace('-', '_')}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(files):
            # A wheel is compressed already.
            method = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), files[name], method)
    return target


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="a folder: dist/")
    parser.add_argument(
        "--platform", choices=PLATFORMS, action="append", help="one of them; may be repeated"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        wheel = universal_wheel(Path(place))
        for name in chosen.platform or PLATFORMS:
            folder = Path(place, name)
            folder.mkdir()
            own_wheel(wheel, PLATFORMS[name], folder)
            download(PLATFORMS[name], folder)
            version = wheel.name.split("-")[1]
            made = pack(name, version, sorted(folder.glob("*.whl")), chosen.output)
            print(f"{made}: {made.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
