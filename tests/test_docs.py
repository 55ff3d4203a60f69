"""The documentation holds to the code: links, names of files and functions, anchors, examples."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
CODEC = ROOT / "codec"
LIBRARY = CODEC / "inrv"
PAGES = sorted(
    path
    for folder in (".", "docs", "spec", "deploy", "fuzz", "fixtures", "codec")
    for path in (ROOT / folder).glob("**/*.md" if folder in ("spec", "codec") else "*.md")
)
MAP = (ROOT / "docs" / "map.md").read_text()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    named = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    slugs = [re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles]
    repeated = {f"{slug}-{n}" for slug in slugs for n in range(1, slugs.count(slug))}
    return {*slugs, *repeated, *named}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_constants_name_lab_notes_that_exist() -> None:
    there = anchors(ROOT / "docs" / "lab-notes.md")
    for path in [*LIBRARY.glob("**/*.py"), *(ROOT / "cli").glob("**/*.py")]:
        for anchor in re.findall(r"lab-notes\.md#([\w-]+)", path.read_text()):
            assert anchor in there, f"{path.relative_to(ROOT)}: {anchor}"


def listed() -> set[str]:
    """The files that the tree on the map lists, from `codec` on."""
    files, folder = set[str](), ""
    for line in MAP.split("## The order of imports")[0].splitlines():
        if found := re.match(r"    codec/(\S+/)(\s|$)", line):
            folder = found[1]
        elif found := re.match(r"      (\S+\.(?:py|bin|safetensors|c|h))\s", line):
            files.add(folder + found[1])
    return files


def test_the_map_lists_every_file() -> None:
    kinds = ("*.py", "*.bin", "*.safetensors", "*.c", "*.h")
    there = {str(path.relative_to(CODEC)) for kind in kinds for path in CODEC.rglob(kind)}
    faces = {name for name in there if name.endswith("/__init__.py")} - {"inrv/__init__.py"}
    assert listed() == there - faces


def names_in(path: Path) -> set[str]:
    """Functions, classes, methods and constants of a module, as `Class.method` too."""
    names = set[str]()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            names |= {f"{node.name}.{item.name}" for item in inner}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_the_map_names_functions_that_exist() -> None:
    for name, function in re.findall(r"`([\w/]+\.py):([\w.]+)`", MAP):
        path = next(p for p in (LIBRARY / name, ROOT / name) if p.exists())
        assert function in names_in(path), f"{name}:{function}"
    for name in re.findall(r"`((?:tests|cli|spec|testing|fuzz)/[\w/.-]+\.\w+)`", MAP):
        assert (ROOT / name).exists(), name


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copy(ROOT / "fixtures" / "fire.vdb", tmp_path / "fire.vdb")
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    smoke = chance.random((12, 12, 12), dtype=np.float32)
    given: dict[str, Any] = {
        "points": np.zeros((4, 3)),
        "array": smoke,
        "smoke": smoke,
        "heat": smoke * 2,
        "mask": smoke > 0.5,
        "velocity": np.stack([smoke] * 3, axis=-1),
    }
    example = example.replace("(psnr=50)", "(psnr=50, effort='instant')")
    example = example.replace('"scene.inrv")', '"scene.inrv", overwrite=True)')  # there are two
    exec(compile(example, "README.md", "exec"), given)
    assert given["volume"]["density"].dense().dtype == np.float32
    assert (tmp_path / "out.vdb").exists() and (tmp_path / "scene.inrv").exists()
