"""Whatever a caller has set in torch and NumPy, the same bytes and values come out.

And it is set afterwards as it was.
"""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inrv
from inrv.files.vdb import read_volume
from inrv.metrics import compare_volumes

CODEC = Path(__file__).resolve().parents[2] / "codec" / "inrv"
CODINGS = {
    "learned": inrv.EncodeOptions(exact_below=0, psnr=40),
    "bounded": inrv.EncodeOptions(
        exact_below=0, effort="instant", max_error="1%", nonfinite="keep"
    ),
    "sized": inrv.EncodeOptions(exact_below=0, effort="instant", size=2500),
    "fourier": inrv.EncodeOptions(exact_below=0, epochs=2, values_per_weight=5),
}
# A field of which no gradients are asked is computed in another order.
ROUNDED_OTHERWISE = {"fourier trilinear", "fourier nearest", "fourier continuous"}
# What makes numbers of a dtype of its own choice, unless it is told which.
FLOATS = {
    "tensor",
    "zeros",
    "ones",
    "empty",
    "full",
    "rand",
    "randn",
    "linspace",
    "logspace",
    "eye",
    "scalar_tensor",
}


def smoke() -> np.ndarray:
    """A small cloud in empty air, as three components that resemble each other."""
    x, y, z = np.meshgrid(
        *(np.linspace(-1, 1, count, dtype=np.float32) for count in (17, 20, 23)), indexing="ij"
    )
    cloud = np.exp(-3 * (x**2 + y**2 + z**2)) * (1 + np.float32(0.2) * np.sin(9 * x + 4 * z))
    return np.where(
        cloud[..., None] > 0.3, np.stack([cloud, 2 * cloud + x, cloud - z], axis=3), 0
    ).astype(np.float32)


def everything(folder: Path) -> dict[str, bytes]:
    """What comes out of encoding, decoding, sampling, checking and comparing.

    That is bytes, values, gradients and figures.
    """
    found: dict[str, bytes] = {}
    for name, options in CODINGS.items():
        array = smoke() if name == "learned" else smoke()[..., 0]
        if name == "bounded":
            array[8, 10, 11] = np.nan
        inrv.encode_array(
            array,
            folder / "file.inrv",
            options,
            transform=inrv.Transform.from_voxel_size(0.1),
            overwrite=True,
        )
        found[name] = (folder / "file.inrv").read_bytes()
        found |= {f"{name} {what}": values for what, values in read(folder / "file.inrv").items()}
    return found


def read(path: Path) -> dict[str, bytes]:
    """What comes out of one file."""
    volume = inrv.load(path, "cpu")
    grid = volume[0]
    points = torch.from_numpy(np.random.default_rng(0).random((50, 3), dtype=np.float32) * 16)
    outputs: dict[str, Any] = {
        "dense": grid.dense(inrv.Box((2, 2, 2), (14, 12, 10))),
        "values": grid.values(),
        "trilinear": grid.sample(points),
        "nearest": grid.sample(points / 10, "world", "nearest"),
    }
    if volume.field is not None:
        outputs["continuous"] = grid.sample(points, interpolation="field")
    volume.to_vdb(path.with_suffix(".vdb"))
    written = read_volume(path.with_suffix(".vdb"))
    outputs |= {
        "written": written.grids[0].values,
        "dense written": written.grids[0].dense(inrv.Box((0, 0, 0), (5, 5, 5))),
    }
    told = f"{inrv.verify(path, 'cpu')} {compare_volumes(written, volume.to_sparse())}"
    return {name: as_bytes(values) for name, values in outputs.items()} | {"told": told.encode()}


def as_bytes(values: Any) -> bytes:
    """What an array or a tensor is, and its values."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype}".encode() + values.tobytes()
    return f"{values.dtype} {values.device}".encode() + values.detach().numpy().tobytes()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64 as the default": lambda: default_dtype(torch.float64),
    "half as the default": lambda: default_dtype(torch.float16),
    "another device as the default": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic algorithms": deterministic,
    "NumPy raises": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return everything(tmp_path_factory.mktemp("as_usual"))


@pytest.mark.parametrize("state", STATES)
def test_what_a_caller_has_set_changes_nothing(
    state: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with STATES[state]():
        found = everything(tmp_path)
    differing = {name for name in expected if found[name] != expected[name]}
    assert differing <= (
        ROUNDED_OTHERWISE if state in ("no gradients", "inference mode") else set()
    )


def test_what_was_opened_in_inference_mode_learns_outside_of_it(tmp_path: Path) -> None:
    points = torch.from_numpy(np.random.default_rng(0).random((50, 3), dtype=np.float32) * 16)
    with torch.inference_mode():
        inrv.encode_array(smoke()[..., 0], tmp_path / "a.inrv", CODINGS["fourier"])
        volume = inrv.load(tmp_path / "a.inrv", "cpu")
        assert not volume[0].sample(points).requires_grad
    wanted = points.clone().requires_grad_()
    volume[0].sample(wanted, interpolation="field").sum().backward()
    assert wanted.grad is not None and volume.field is not None
    assert all(weight.grad is not None for weight in volume.field.parameters())


def test_points_made_in_inference_mode_are_sampled_outside_of_it(tmp_path: Path) -> None:
    inrv.encode_array(smoke()[..., 0], tmp_path / "a.inrv", CODINGS["fourier"])
    grid = inrv.load(tmp_path / "a.inrv", "cpu")[0]
    with torch.inference_mode():
        points = torch.ones(4, 3)
    assert grid.sample(points).shape == grid.sample(points, interpolation="field").shape == (4,)


def test_the_state_is_as_it_was_afterwards(tmp_path: Path) -> None:
    def state() -> list[object]:
        told: list[object] = [
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_num_threads(),
            np.geterr(),
        ]
        told += [
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        ]
        told += [
            hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
            str(np.random.get_state()),
        ]
        return told

    with ExitStack() as stack:
        for entered in (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16),
            np.errstate(all="raise"),
        ):
            stack.enter_context(entered)
        before = state()
        everything(tmp_path)
        assert state() == before


def test_imported_and_used_with_everything_set_it_makes_the_same_bytes(
    expected: dict[str, bytes], tmp_path: Path
) -> None:
    source = f"""
import numpy, torch, warnings
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_num_threads(2)
numpy.seterr(all="raise")
import inrv
from {Path(__file__).stem} import everything, hashlib, Path
warnings.simplefilter("error")
for name, found in everything(Path(".")).items():
    print(name, hashlib.sha256(found).hexdigest(), sep=": ")
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", source],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    found = dict(line.split(": ") for line in ran.stdout.splitlines())
    assert [
        name for name in expected if found[name] != hashlib.sha256(expected[name]).hexdigest()
    ] == []


def test_tensors_of_numbers_name_their_dtype() -> None:
    assert calls_without("dtype", CODEC, FLOATS) == []


def test_rooms_of_data_make_no_tensors() -> None:
    """What a caller has set in torch cannot reach them, and they can do without it."""
    for room in ("container", "entropy", "files", "grids", "metrics", "storage"):
        assert calls_without("", CODEC / room, {*FLOATS, "arange", "from_numpy", "as_tensor"}) == []


def test_settings_are_put_aside_without_importing_torch() -> None:
    code = """
import sys
import numpy as np
from inrv.support.undisturbed import undisturbed
np.seterr(all="raise")
with undisturbed():
    assert np.geterr()["under"] == "ignore"
assert np.geterr()["under"] == "raise"
print("torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def calls_without(word: str, folder: Path, functions: set[str]) -> list[str]:
    """The calls of these functions of torch that lack a keyword, but for those of the workshop.

    The workshop trains the default networks; no caller's settings reach it.
    """
    return [
        f"{path.relative_to(folder)}:{call.lineno}: {ast.unparse(call)}"
        for path in folder.rglob("*.py")
        if "workshop" not in path.parts
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in {f"torch.{function}" for function in functions}
        and word not in {keyword.arg for keyword in call.keywords}
    ]
