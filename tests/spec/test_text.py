"""The specification's tables and data are the library's, and its links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest

from inrv.container import Component, FieldEntry, GridEntry, Limits, Manifest, PassthroughEntry
from inrv.container.dictionary import DICTIONARY
from inrv.container.layout import (
    CHUNK_FLAGS,
    COMPRESSIONS,
    CRITICAL,
    ENTRY,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    MINOR,
)
from spec.reference import read

ROOT = Path(__file__).resolve().parents[2]
CODEC = ROOT / "codec" / "inrv"
PARTS = sorted([ROOT / "format_spec.md", *(ROOT / "spec").glob("**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
IDENTITY = re.compile(r"[HTCMQSFLIR][1-9]\d?")


def part(name: str) -> str:
    return (ROOT / "spec" / name).read_text()


def rows(text: str, first_column: str) -> list[list[str]]:
    """The rows of the table whose first column has this name, without code marks."""
    (found,) = re.findall(
        rf"^\| {re.escape(first_column)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|\n").split(" | ")]
        for line in found.splitlines()
    ]


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    (found,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return str(found)


def anchors(text: str) -> set[str]:
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower().replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_part_is_linked_from_the_front_page() -> None:
    front = (ROOT / "format_spec.md").read_text()
    for path in (ROOT / "spec").glob("*.md"):
        assert f"(spec/{path.name})" in front


def raised_in(path: Path) -> Iterator[str]:
    """The ids of errors that a file of the library hands to calls, in C to INRV_RULE."""
    if path.suffix != ".py":
        for letter, number in re.findall(r"INRV_RULE\('([A-Z])', (\d+)\)", path.read_text()):
            yield letter + number
        return
    for call in ast.walk(ast.parse(path.read_text())):
        for argument in (
            [*call.args, *(word.value for word in call.keywords)]
            if isinstance(call, ast.Call)
            else ()
        ):
            for node in ast.walk(argument):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and IDENTITY.fullmatch(node.value)
                ):
                    yield node.value


def test_the_ids_of_errors_are_the_codes() -> None:
    stated = re.findall(r"^\| ([A-Z]\d+) \|", part("errors.md"), re.MULTILINE)
    assert len(stated) == len(set(stated))
    files = [*CODEC.rglob("*.py"), *(ROOT / "codec" / "core").glob("*.c")]
    assert {identity for path in files for identity in raised_in(path)} == set(stated)


def test_ids_elsewhere_are_those_of_the_table() -> None:
    """In the other parts between parentheses, and in what the reference readers raise."""
    stated = set(re.findall(r"^\| ([A-Z]\d+) \|", part("errors.md"), re.MULTILINE))
    for path in PARTS:
        for group in re.findall(r"\(([A-Z]\d+(?:, [A-Z]\d+)*)\)", path.read_text()):
            assert set(group.split(", ")) <= stated, path
    for path in (ROOT / "spec" / "reference").glob("*.py"):
        assert set(re.findall(r'"([A-Z]\d+): ', path.read_text())) <= stated, path


def test_chunk_types_are_the_codes() -> None:
    table = {
        kind: critical == "yes"
        for kind, critical, *_ in rows(section(part("container.md"), "Chunk table"), "Type")
    }
    assert table == {kind: flags == CRITICAL for kind, flags in CHUNK_FLAGS.items()}
    assert {kind: int(critical) for kind, critical in table.items()} == read.CHUNK_TYPES


def test_sizes_and_numbers_of_the_container_are_the_codes() -> None:
    text = part("container.md")
    header = {
        field.split(",")[0]: (int(offset), rule)
        for offset, _, field, rule in rows(section(text, "Header"), "Offset")
    }
    assert bytes.fromhex(header["magic"][1][:23].replace(" ", "")) == MAGIC
    assert header["major version"][1] == str(MAJOR) and header["minor version"][1].startswith(
        f"{MINOR} in"
    )
    assert header["header checksum"][0] + 4 == HEADER_SIZE == 48
    offset, kind, *_ = re.findall(
        r"^\| (\d+) \| (\w+) \| reserved", section(text, "Chunk table"), re.MULTILINE
    )[-1]
    assert int(offset) + int(kind[1:]) // 8 == ENTRY.size
    assert [int(number) for number, *_ in rows(text, "Compression")] == list(COMPRESSIONS)


@pytest.mark.parametrize(
    ("heading", "entry"),
    [
        ("The manifest object", Manifest),
        ("Grid", GridEntry),
        ("Component", Component),
        ("Field", FieldEntry),
        ("Passthrough grid", PassthroughEntry),
    ],
)
def test_keys_of_the_manifest_are_the_codes(heading: str, entry: type) -> None:
    stated = [key for key, *_ in rows(section(part("container.md"), heading), "Key")]
    assert stated == [field.name for field in fields(entry)]


def test_keys_of_the_fields_are_the_codes() -> None:
    """In the sources: the rooms of the fields name the keys that they allow."""
    from inrv.fields.fourier.config import KEYS

    assert [key for key, *_ in rows(section(part("fourier.md"), "Configuration"), "Key")] == list(
        KEYS
    )
    lattice = section(part("lattice.md"), "Configuration")
    keys = {key for name in ("Key", "Key of a channel") for key, *_ in rows(lattice, name)}
    sources = "".join(path.read_text() for path in (CODEC / "fields" / "lattice").glob("*.py"))
    assert all(f'"{key}"' in sources for key in keys)


def test_limits_are_the_codes() -> None:
    text = section(part("limits-and-security.md"), "Limits")
    stated = {}
    for first, default, _ in rows(text, "Limit"):
        (number,) = re.findall(r"^(\d+(?:\^\d+)?)", default)
        base, _, power = number.partition("^")
        stated[first.split(":")[0].split(" ")[0]] = int(base) ** int(power or 1)
    assert stated == {field.name: field.default for field in fields(Limits)}


def test_no_symbol_stands_for_two_things() -> None:
    table = rows((ROOT / "format_spec.md").read_text(), "Symbol")
    symbols = [
        symbol for first, *_ in table for symbol in ([first] if "(" in first else first.split(", "))
    ]
    assert len(symbols) == len(set(symbols))
    letters = {symbol for symbol in symbols if re.fullmatch("[A-Z]", symbol)}
    for path in PARTS:
        shapes = re.findall(
            r"\((\w+(?:, \w+)*)\)",
            " ".join(re.findall(r"^\| `.*$", path.read_text(), re.MULTILINE)),
        )
        used = {
            size for shape in shapes for size in shape.split(", ") if re.fullmatch("[A-Z]", size)
        }
        assert used <= letters, path


@pytest.mark.parametrize(
    ("copy", "own", "where"),
    [
        (read.DICTIONARY, DICTIONARY, "container.md"),
        (read.DEFAULT_NETWORKS, CODEC / "fields" / "lattice" / "default.safetensors", "lattice.md"),
    ],
    ids=["dictionary", "networks"],
)
def test_the_data_are_the_packages(copy: Path, own: Path, where: str) -> None:
    data = copy.read_bytes()
    assert data == own.read_bytes()
    assert f"    {sha256(data).hexdigest()}\n" in part(where)
    assert where != "container.md" or f"{len(data):,} bytes" in part(where)


def test_the_hexdump_is_a_file_that_the_command_wrote() -> None:
    (block,) = re.findall(r"```hexdump\n(.*?)```", part("container.md"), re.DOTALL)
    data = b""
    for line in block.splitlines():
        assert int(line[:8], 16) == len(data), line
        data += bytes.fromhex(line[10:57])
    assert data == (ROOT / "spec" / "vectors" / "encoded.inrv").read_bytes()
    assert read.File(data).header["file_size"] == len(data)


def test_the_reference_readers_need_no_line_of_the_library() -> None:
    for path in (ROOT / "spec").rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        foreign = set(imported) - sys.stdlib_module_names
        assert foreign <= {"spec", "masks", "lattice", "motion", "wavelet", "numpy", "zstandard"}, (
            path
        )


def test_the_parts_are_plain() -> None:
    """Words that the specification no longer uses."""
    words = "surrounded smoothing kept_values corrected_values carried walk"
    types = "FELD REFS MASK KEEP GRID TREE"
    gone = rf"\b(?:{'|'.join([*words.split(), *types.split()])})\b"
    for path in [*PARTS, *(ROOT / "spec" / "reference").glob("*.py")]:
        assert not re.findall(gone, path.read_text()), path
    assert "spec.reference" in inspect.getsource(read)
