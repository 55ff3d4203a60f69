"""Rooms import downwards only, some never know of others, and torch is loaded late."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"inrv": ROOT / "codec" / "inrv", "inrv_cli": ROOT / "cli" / "inrv_cli"}
HEAVY = ("torch", "scipy", "dask")

# A room may import from itself and from lower floors, and beside it where NEIGHBOURS says so.
FLOORS = (
    ("cli",),
    ("dask",),
    ("scenes", "integrations", "pyvista", "viewer"),
    ("encoding", "decoding"),
    ("fields",),
    ("storage", "metrics"),
    ("container", "entropy", "files", "grids"),
    ("core",),
    ("support", "errors", "options"),
)
NEIGHBOURS = {
    ("encoding", "decoding"),
    ("files", "grids"),
    ("entropy", "grids"),
    ("support", "errors"),
    ("options", "errors"),
}
# A program that makes the lattice's default networks, and encodes for that.
WORKSHOP = "inrv.fields.lattice.workshop"


def room_of(module: str) -> str:
    """The room that a module is in; '' for the face of the library."""
    first, *rest = module.split(".")
    return "cli" if first == "inrv_cli" else rest[0] if rest else ""


def floor_of(room: str) -> int:
    """The number of the floor from above."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports in a piece of source, those for type checkers left out."""
    if (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ):
        node = ast.Module(node.orelse, [])
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from statements(child)


def module_of(path: Path) -> str:
    """The dotted name of a file of the library or the command line."""
    name, folder = next(item for item in SOURCES.items() if path.is_relative_to(item[1]))
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join((name, *parts)).removesuffix(".__init__")


def is_module(name: str) -> bool:
    first, *rest = name.split(".")
    place = SOURCES[first].joinpath(*rest) if first in SOURCES else None
    return place is not None and (place.is_dir() or place.with_suffix(".py").is_file())


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports at any time; a package's face hands on what it has."""
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
            continue
        assert node.level == 0 and node.module is not None, (
            f"{path}: an import that is not absolute"
        )
        for name in node.names:
            whole = f"{node.module}.{name.name}"
            yield whole if is_module(whole) else node.module


FILES = {
    module_of(path): path
    for folder in SOURCES.values()
    for path in sorted(folder.rglob("*.py"))
    if not module_of(path).startswith(WORKSHOP)
}
ARROWS = sorted({(module, other) for module, path in FILES.items() for other in imported(path)})
INSIDE = [(module, other) for module, other in ARROWS if other.split(".")[0] in SOURCES]


def test_the_sources_are_read() -> None:
    assert {room_of(module) for module in FILES} == {
        "",
        *(room for rooms in FLOORS for room in rooms),
    }
    assert ("inrv.encoding.sources", "inrv.decoding.volume") in INSIDE and (
        "inrv_cli.opening",
        "inrv",
    ) in INSIDE
    assert ("inrv.encoding.api", "inrv.files") in INSIDE  # within a function
    assert ("inrv.encoding.api", "inrv.fields.fourier.training") not in INSIDE  # for type checkers


def test_imports_run_downwards() -> None:
    wrong = []
    for module, other in INSIDE:
        above, below = room_of(module), room_of(other)
        if not above or above == below or (not below and above == "cli"):
            continue
        lower = below and floor_of(above) < floor_of(below)
        if not lower and (above, below) not in NEIGHBOURS:
            wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_nothing_in_the_library_imports_the_workshop() -> None:
    assert [module for module, other in INSIDE if other.startswith(WORKSHOP)] == []


def test_the_face_of_the_library_imports_nothing_of_it() -> None:
    assert [other for module, other in INSIDE if module == "inrv"] == []


@pytest.mark.parametrize(
    ("room", "never"),
    [
        (r"inrv\.fields\.lattice\b", r"inrv\.fields\.fourier\b"),
        (r"inrv\.fields\.fourier\b", r"inrv\.fields\.lattice\b"),
        (r"inrv\.fields\.seam$", r"inrv\.fields\.(lattice|fourier)\b"),
        (r"inrv\.(decoding|scenes)\b", r"inrv\.encoding\b"),
        (r"inrv\.(container|storage|entropy|files|metrics|core|errors|options)\b", r"torch\b"),
        (r"inrv(_cli)?\b(?!\.core\b)", r"ctypes\b"),
        (
            r"inrv\.(container|storage|files|grids|core|metrics|errors|options)\b",
            r"scipy\b",
        ),
        (r"inrv\.container\b", r"inrv\.(grids|storage|entropy|files)\b"),
        (r"inrv\.(?!files\.)", r"inrv\.files\.vdb\b"),
        (r"inrv_cli\b", r"inrv\.files\.vdb\b"),
        (
            r"inrv\.(errors|options|core|grids|container|storage|entropy|files|metrics)\b",
            r"(click|rich)\b",
        ),
    ],
)
def test_some_never_import_others(room: str, never: str) -> None:
    assert any(re.match(room, module) for module in FILES)
    assert [
        arrow for arrow in ARROWS if re.match(room, arrow[0]) and re.match(never, arrow[1])
    ] == []


def test_only_its_own_room_knows_vdb_files() -> None:
    """Elsewhere .vdb stands in help and docstrings, and as the suffix that decoding defaults to."""
    allowed = {"inrv.files.file_types", "inrv_cli.decode", "inrv_cli.houdini"}
    found = set[str]()
    for module, path in FILES.items():
        if module.startswith("inrv.files.vdb"):
            continue
        tree = ast.parse(path.read_text())
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        if any(isinstance(text, str) and re.fullmatch(r"\.?vdb", text) for text in texts):
            found.add(module)
    assert found <= allowed


SHOW = (
    "import sys\n"
    "from click.testing import CliRunner\n"
    "from inrv_cli.main import cli\n"
    "result = CliRunner().invoke(cli, sys.argv[1:], prog_name='inrv')\n"
    f"print(result.exit_code, *({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))\n"
)


def loaded(code: str, *arguments: str) -> list[str]:
    """The last line that some code prints, in words."""
    path = os.pathsep.join([str(ROOT / "codec"), str(ROOT / "cli")])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


GOLDEN = sorted((ROOT / "fixtures" / "golden").glob("*.inrv"))
VDB = str(ROOT / "fixtures" / "tiles.vdb")


@pytest.mark.parametrize("file", [str(path) for path in GOLDEN], ids=[path.stem for path in GOLDEN])
def test_info_and_verify_load_nothing_heavy(file: str) -> None:
    assert loaded(SHOW, "info", file) == ["0"]
    assert loaded(SHOW, "info", "--json", file) == ["0"]
    assert loaded(SHOW, "verify", file) == ["0"]


def test_decoding_and_sampling_a_lattice_load_nothing_heavy(tmp_path: Path) -> None:
    file, points = str(ROOT / "fixtures" / "golden" / "lattice.inrv"), tmp_path / "points.csv"
    points.write_text("1,2,3\n")
    assert loaded(SHOW, "decode", file, "-o", str(tmp_path / "a.vdb")) == ["0"]
    assert loaded(SHOW, "decode", file, "-o", str(tmp_path / "b.vdb"), "--lod", "1") == ["0"]
    assert loaded(SHOW, "sample", file, "--points", str(points)) == ["0"]
    assert loaded(SHOW, "usd", file, "-o", str(tmp_path / "c.usda")) == ["0"]


def test_decoding_loads_only_what_it_needs(tmp_path: Path) -> None:
    file = str(ROOT / "fixtures" / "golden" / "lattice.inrv")
    show = SHOW.rsplit("print", 1)[0] + "print(*sys.modules)"
    modules = set(loaded(show, "decode", file, "-o", str(tmp_path / "a.vdb")))
    unwanted = {"inrv.encoding", "inrv.metrics", "inrv.fields.fourier", "inrv_cli.encode"}
    unwanted |= {"inrv.fields.lattice.search", "http", "matplotlib", "rich", "fsspec"}
    assert "inrv.fields.lattice.decode" in modules and modules & unwanted == set()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), "0"),
        (("--version",), "0"),
        *(
            ((command, "--help"), "0")
            for command in ("encode", "decode", "info", "verify", "compare", "sample", "usd")
        ),
        (("compare", VDB, VDB), "0"),
        (("info", "missing.inrv"), "3"),
        (("info", VDB), "3"),
        (("verify", "missing.inrv"), "3"),
        (("verify", VDB), "1"),
        (("decode", "missing.inrv"), "3"),
        (("decode", VDB, "-o", "-"), "3"),
        (("compare", "missing.vdb", VDB), "3"),
        (("encode", "missing.vdb"), "3"),
        (("encode", VDB, "--psnr", "-3"), "2"),
        (("encode", VDB, "--grid", "nobody", "-o", "-"), "2"),
        (("sample", "missing.inrv", "--points", "-"), "3"),
    ],
)
def test_help_comparisons_and_errors_load_nothing_heavy(
    arguments: tuple[str, ...], code: str
) -> None:
    assert loaded(SHOW, *arguments) == [code]


def test_what_the_benchmark_of_speed_measures_is_a_process_of_a_user() -> None:
    code = "import sys, numpy, inrv; known = set(sys.modules)\n"
    code += f"sys.path.insert(0, {str(ROOT)!r})\nimport benchmarks.speed_child\n"
    code += "print(*sorted(set(sys.modules) - known))"
    assert loaded(code) == ["benchmarks", "benchmarks.speed_child"]


def test_the_library_loads_nothing_heavy_until_it_must() -> None:
    """Opening, slicing a file without a network and encoding in an instant need no torch."""
    show = "\nimport sys\nfound = {name.split('.')[0] for name in sys.modules}\n"
    show += f"print(*(found & set({HEAVY!r})), 'loaded')"
    assert loaded("import inrv" + show) == ["loaded"]
    assert loaded(
        "import inrv, numpy; inrv.EncodeOptions(); inrv.sparse_grid(numpy.ones((8, 8, 8)))" + show
    ) == ["loaded"]
    code = "import inrv, numpy\narray = numpy.random.default_rng(0).random((32,) * 3, 'float32')\n"
    code += "data, _ = inrv.encode_bytes({'a': array}, inrv.EncodeOptions(effort='instant'))\n"
    code += "grid = inrv.load(data)['a']\ngrid.sample([3, 4, 5.5]), grid[2:9], grid.values()\n"
    code += "inrv.verify(data)"
    assert "torch" not in loaded(code + show)
