"""A small share of the fuzzing with fixed numbers, and every file that was once a finding."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fuzz.mutations import seed_of
from fuzz.outcomes import KNOWN, outcome_of
from fuzz.runner import run_cases
from fuzz.seeds import inrv_seeds
from fuzz.sequences import sequence_files
from fuzz.targets import TARGETS, InrvCases, attempt
from fuzz.trees import HostileTree
from inrv.errors import FormatError, VdbError

FINDINGS = Path(__file__).resolve().parent.parent / "fuzz" / "findings"
KEPT = sorted(path for path in FINDINGS.iterdir() if path.suffix in (".inrv", ".vdb", ".nvdb"))


@pytest.mark.parametrize(
    ("name", "cases", "least"),
    [("head", 4000, 30), ("decode", 150, 12), ("info", 80, 8), ("vdb", 150, 0), ("nvdb", 300, 0)],
)
def test_nothing_but_errors_of_the_library_comes_out(
    tmp_path: Path, name: str, cases: int, least: int
) -> None:
    report = run_cases(TARGETS[name](), 2026, range(cases), tmp_path)
    found = [path.read_text() for path in tmp_path.glob("*.txt")]
    assert not report.findings, found
    assert report.cases == cases and report.outcomes["accepted"] > cases // 20
    named = {"accepted", "VdbError", "UnsupportedGridError"}
    assert report.outcomes.keys() <= KNOWN | named, "a condition that the specification lacks"
    assert len(KNOWN & report.outcomes.keys()) >= least


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_found_is_mended(path: Path) -> None:
    for make in TARGETS.values():
        target = make()
        if target.suffix == path.suffix:
            assert attempt(target, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_is_made_again_from_its_numbers(name: str) -> None:
    first, second = TARGETS[name]().make, TARGETS[name]().make
    cases = [first(7, number) for number in range(100)]
    assert cases == [second(7, number) for number in range(100)]
    assert len(set(cases)) > 90 and cases[3] != first(8, 3)


def test_every_seed_is_a_good_file() -> None:
    target = TARGETS["decode"]()
    files = [seed.data for seed in inrv_seeds()]
    files += [*sequence_files().values(), *sequence_files(plain=True).values()]
    assert [attempt(target, data) for data in files] == ["accepted"] * len(files)


def test_a_seed_that_is_not_changed_comes_out_as_it_was() -> None:
    for seed in inrv_seeds():
        assert (
            seed.file.to_bytes() == seed.data
            and seed_of("again", seed.data).manifest == seed.manifest
        )


def test_what_a_target_must_not_let_out_is_found_and_kept(tmp_path: Path) -> None:
    def check(data: bytes) -> str:
        raise ZeroDivisionError("on purpose")

    target = TARGETS["head"]().__class__(
        InrvCases(lambda seed, random: seed.data), check, ValueError, 1.0, 1 << 30, ".inrv"
    )  # type: ignore[arg-type]
    report = run_cases(target, 0, range(20), tmp_path)
    assert (
        report.findings == {"ZeroDivisionError at test_fuzz.py": 20}
        or sum(report.findings.values()) == 20
    )
    assert 0 < len(list(tmp_path.glob("*.inrv"))) <= 5
    assert all("on purpose" in path.read_text() for path in tmp_path.glob("*.txt"))


def test_a_tree_with_marks_is_text_no_parser_would_write() -> None:
    tree = HostileTree({"a": [1, 2]})
    tree.root["root"]["a"][0] = tree.text("1e999")
    tree.root["root"][tree.text('"a"')] = 5
    assert tree.to_bytes(Random(1)).replace(b" ", b"") in (
        b'{"a":5,"a":[1e999,2]}',
        b'{"a":[1e999,2],"a":5}',
    )


def test_an_outcome_is_the_id_of_a_condition_or_the_name_of_a_class() -> None:
    assert outcome_of(FormatError("C2", "chunk 0 unpacks to 9 bytes")) == "C2"
    assert outcome_of(VdbError("is not a .vdb file")) == "VdbError"
