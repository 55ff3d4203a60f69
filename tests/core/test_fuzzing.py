"""Damaged bytes for the C core, under the sanitizers of the compiler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fuzz import native
from fuzz.outcomes import KNOWN

pytestmark = pytest.mark.skipif(
    not native.has_sanitizers(), reason="no C compiler here has sanitizers"
)

LEVEL = "-O0"  # compiled in seconds
# Each mistake is behind bytes that chance alone does not find.
MISTAKES = """
#include <stdlib.h>
#include "targets.h"

/* The number of letters that are right. */
static int right(const uint8_t *data, size_t size) {
    static volatile int count;
    count = 0;
    if (size < 2 || data[0] != 'n') return count;
    if (count++, data[1] != 'o') return count;
    return 2;
}
static int beyond(const uint8_t *data, size_t size) { return right(data, size) == 2 && data[size]; }
static int overflow(const uint8_t *data, size_t size) { return 1 >> (30 + right(data, size)); }
static int leak(const uint8_t *data, size_t size) { return right(data, size) == 2 && !malloc(9); }

static int trap(const uint8_t *data, size_t size) {
    if (right(data, size) == 2) __builtin_trap();
    return 0;
}

const struct target TARGETS[] = {
    {"beyond", beyond}, {"overflow", overflow}, {"leak", leak}, {"trap", trap}};
const size_t TARGET_COUNT = 4;
"""


@pytest.mark.parametrize("target", native.SEEDS)
def test_nothing_but_errors_comes_out(tmp_path: Path, target: str) -> None:
    slow = ("region", "file", "sequence")  # not optimised
    cases = 300 if target in slow else 5000
    report = native.run(native.driver(LEVEL), target, cases, 1, 2026, tmp_path)
    assert report.findings == []
    assert report.outcomes.total() > cases
    assert report.outcomes.keys() <= KNOWN | {"accepted", "use", "memory", "unsupported"}


def test_every_target_has_seeds() -> None:
    text = (native.HERE / "core" / "targets.c").read_text()
    assert re.findall(r'\{"(\w+)", \w+\}', text) == list(native.SEEDS)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("beyond", "heap-buffer-overflow"),
        ("overflow", "shift exponent"),
        ("trap", "ILL"),
        ("leak", "LeakSanitizer"),
    ],
)
def test_mistakes_are_found_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    source = tmp_path / "mistakes.c"
    source.write_text(MISTAKES)
    monkeypatch.setitem(native.SEEDS, target, lambda: [bytes(8)])
    report = native.run(native.driver(LEVEL, source), target, 60_000, 1, 1, tmp_path)
    assert len(report.findings) == 1 and said in report.findings[0]
    if target != "leak":  # that is told at the end
        assert (tmp_path / f"1-0.{target}").read_bytes().startswith(b"no")
