"""Functions that numba compiles when they are first called; what it made is kept on disk for the next time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """`function` on arrays and numbers, compiled: without Python objects, and beside other threads."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the source nor in the user's cache can anything be written
        return njit(**options)(function)
