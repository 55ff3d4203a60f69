"""What pyproject.toml cannot say: the C core is a library inside the package, in every wheel."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "scripts"))
import build_core  # noqa: E402


class BuildCore(build_ext):
    """Compiles the core in place of an extension module."""

    def get_ext_filename(self, fullname: str) -> str:
        """The name of the library, which no version of Python is in."""
        return str(Path(*fullname.split(".")).with_name(build_core.LIBRARY))

    def build_extension(self, ext: Extension) -> None:
        """Compile it."""
        build_core.build_library(
            build_core.find_compiler(),
            Path(self.get_ext_fullpath(ext.name)),
            folder=Path(self.build_temp),
        )


class Wheel(bdist_wheel):
    """A wheel for every Python on one kind of machine."""

    def get_tag(self) -> tuple[str, str, str]:
        """Its tag. On a Mac, a Python for two kinds of machine builds for the one it is on."""
        return "py3", "none", super().get_tag()[2].replace("universal2", platform.machine())


sources = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "codec/core").glob("*.c"))]
setup(
    ext_modules=[Extension("inrv._core", sources)],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
)
