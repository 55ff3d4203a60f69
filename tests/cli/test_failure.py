"""Errors: the library's speak Python, the command line's its own options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

import inrv
from inrv_cli.failure import ARGUMENT, message_of
from inrv_cli.main import cli

from .conftest import Run

LIBRARY = Path(inrv.__file__).parent


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`max_error='1%'` must be", "--max-error 1% must be"),
        ("`size=7` and `values_per_weight=3.0`", "--size 7 and --values-per-weight 3.0"),
        ("a is there: `overwrite=True` replaces it", "a is there: --force replaces it"),
        ("choose by `grids`", "choose by --grid"),
        ("`device='it\\'s'` cannot", "--device it\\'s cannot"),
        ("`git lfs pull` fetches it, `cube` too", "`git lfs pull` fetches it, `cube` too"),
        ("psnr=45/size=3.vdb: not a .vdb file", "psnr=45/size=3.vdb: not a .vdb file"),
    ],
)
def test_arguments_are_shown_as_options(message: str, shown: str) -> None:
    with click.Context(cli):
        assert message_of(inrv.OptionError(message)) == shown


@pytest.mark.parametrize(
    ("arguments", "python", "shown"),
    [
        ({"psnr": -3.0}, "`psnr=-3.0` must be", "--psnr -3.0 must be"),
        ({"max_error": "much"}, "`max_error='much'` must be", "--max-error much must be"),
        ({"exact_below": -1}, "`exact_below=-1` must be", "--exact-below -1 must be"),
        (
            {"max_error": "1%", "topology": "threshold"},
            "it needs `topology='exact'`",
            "it needs --topology exact",
        ),
        (
            {"size": 9, "values_per_weight": 3.0},
            "`size=9` and `values_per_weight=3.0`",
            "--size 9 and --values-per-weight 3.0",
        ),
        ({"device": "abacus"}, "`device='abacus'` cannot", "--device abacus cannot"),
    ],
)
def test_one_error_in_two_languages(
    run: Run, library: Path, arguments: dict[str, object], python: str, shown: str
) -> None:
    with pytest.raises(inrv.OptionError) as caught:
        inrv.encode_bytes(library / "scene.vdb", inrv.EncodeOptions(**arguments))  # type: ignore[arg-type]
    assert python in str(caught.value)
    options = [
        text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", value)
    ]
    result = run("encode", library / "scene.vdb", "-o", "x.inrv", *options)
    assert result.exit_code == 2 and shown in result.stderr and "`" not in result.stderr


def texts_of_the_library() -> list[tuple[str, str]]:
    """Every string in the library that is no docstring, with its file.

    What an f-string holds is {}. The lattice's workshop is a command line of its own.
    """
    found = []
    for path in sorted(LIBRARY.rglob("*.py")):
        if "workshop" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        documentation = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and isinstance(node.body[0], ast.Expr)
        }
        parts = {
            part
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts = [
                    part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
                ]
                found.append((path.name, "".join(map(str, texts))))
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and not {node} & (documentation | parts)
            ):
                found.append((path.name, node.value))
    return found


def test_no_message_of_the_library_names_an_option_of_the_command_line() -> None:
    assert [
        text for text in texts_of_the_library() if re.search(r"(?<![\w-])--[a-z]", text[1])
    ] == []


def test_every_argument_that_a_message_names_is_an_option_too() -> None:
    named = {match[1] for _, text in texts_of_the_library() for match in ARGUMENT.finditer(text)}
    assert {"nonfinite", "overwrite", "field", "topology", "device", "space"} <= named
    with click.Context(cli):
        unknown = {
            name for name in named if message_of(inrv.OptionError(f"`{name}=1`")).startswith("`")
        }
    assert unknown == set()


def test_a_package_that_is_missing_has_an_exit_code(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("inrv_cli.info.describe", lacking)
    for name, code, words in (("numcodecs", 5, "a package is missing"), ("inrv.x", 70, "unfore")):
        result = run("info", library / "scene.inrv")
        assert result.exit_code == code and words in result.stderr and name in result.stderr
