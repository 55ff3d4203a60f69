"""The C core compiles for other machines, and C programs use it."""

from __future__ import annotations

import pytest

from scripts import build_core


@pytest.mark.parametrize("target", ["aarch64-linux-gnu", "aarch64-macos", "x86_64-windows-gnu"])
def test_it_compiles_for_other_machines(target: str) -> None:
    pytest.importorskip("ziglang")
    compiler = build_core.zig(target)
    assert {"aarch64": 2, "x86_64": 4}[compiler.machine] == len(compiler.variants)
    assert build_core.compile_objects(compiler, ["-Werror"])
