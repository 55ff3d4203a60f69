"""OpenVDB's Python bindings, found when first needed."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy

from inrv.errors import BindingsError

INSTALL = (
    "install them with `apt-get install python3-openvdb` (Debian, Ubuntu; for the system's Python version, with numpy<2) "
    "or `conda install -c conda-forge openvdb`"
)


@lru_cache(maxsize=1)
def load_bindings() -> Any:
    """The module `openvdb` (11 and later) or `pyopenvdb` (10). Raises BindingsError where neither can be used."""
    if find_spec("openvdb") is not None:
        return _import("openvdb")
    if find_spec("pyopenvdb") is None:
        raise BindingsError(f"OpenVDB's Python bindings (openvdb or pyopenvdb) are not installed: {INSTALL}")
    if int(numpy.__version__.split(".")[0]) >= 2:  # pyopenvdb is built for NumPy 1 and crashes the process with 2
        raise BindingsError(f"pyopenvdb cannot run with NumPy {numpy.__version__}: `pip install 'numpy<2'`")
    return _import("pyopenvdb")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BindingsError(f"module {name} cannot be imported ({error}): {INSTALL}") from error
