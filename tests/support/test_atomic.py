"""Files that are there whole or not at all, whatever happens to who writes them."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inrv import OutputError
from inrv.support import atomic
from inrv.support.atomic import atomic_file, atomic_folder, remove_partial

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="forks, signals and modes are POSIX"
)
CALLS = ("open", "fsync", "link", "replace", "unlink", "fdopen", "close")
FULL = OSError(28, "No space left on device")


@pytest.fixture(params=["without a name", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing: the second is what systems without nameless files have."""
    if request.param == "named":
        monkeypatch.setattr(atomic, "DESCRIPTORS", "/nowhere")
    return str(request.param)


def write(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def test_a_file_appears_and_is_replaced(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    for data in (b"first", b"second, longer", b""):
        with atomic_file(path) as file:
            before = path.read_bytes() if path.exists() else None
            file.write(data + b"!")
            file.seek(0)
            assert (
                file.read() == data + b"!"
                and (path.read_bytes() if before is not None else None) == before
            )
        assert path.read_bytes() == data + b"!" and os.listdir(tmp_path) == ["a.inrv"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("old", [b"old", None])
def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(
    way: str, old: bytes | None, tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    file, link, second = (
        tmp_path / "far" / "a.inrv",
        tmp_path / "near" / "b.inrv",
        tmp_path / "c.inrv",
    )
    link.symlink_to("../far/a.inrv")
    second.symlink_to(link)
    if old is not None:
        file.write_bytes(old)
    write(second, b"new")
    assert (
        second.is_symlink()
        and link.is_symlink()
        and not file.is_symlink()
        and file.read_bytes() == b"new"
    )
    assert [os.listdir(folder) for folder in (file.parent, link.parent)] == [["a.inrv"], ["b.inrv"]]


def test_links_that_lead_nowhere_a_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("missing/a.inrv")
    (tmp_path / "device").symlink_to("/dev/null")
    for name, words in (
        ("loop", "symbolic link"),
        ("lost", "No such file"),
        ("device", "not a regular file"),
    ):
        with pytest.raises(OutputError, match=f"cannot be written: .*{words}"):
            write(tmp_path / name, b"new")
    assert all((tmp_path / name).is_symlink() for name in ("loop", "lost", "device"))


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_replaced_file_hands_down_its_mode(way: str, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_file(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode, (
            "nobody else sees what was private"
        )
        file.write(b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(5, "Input/output error")])
def test_an_error_in_the_block_leaves_the_old_file(way: str, error: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError if isinstance(error, OSError) else error),
        atomic_file(path) as file,
    ):
        file.write(b"new" * 9999)
        raise error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.inrv"]


def killed(action: Callable[[], None], call: int | None) -> bool:
    """Whether the process of `action` was killed, before its system call number `call`."""
    process = os.fork()
    if process == 0:
        count = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any, **named: Any) -> Any:
                nonlocal count
                if count == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return function(*arguments, **named)

            return wrapped

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        with contextlib.suppress(BaseException):
            action()
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("old", [None, b"old"])
def test_killed_before_any_system_call_it_is_the_old_file_or_the_new(
    way: str, old: bytes | None, tmp_path: Path
) -> None:
    path, seen, litter = tmp_path / "a.inrv", set(), 0
    for call in range(99):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        if not killed(lambda: write(path, b"new" * 9999), call):
            break
        data = path.read_bytes() if path.exists() else None
        assert data in (old, b"new" * 9999)
        seen.add(data)
        left = sorted(set(os.listdir(tmp_path)) - {path.name})
        assert len(left) <= 1, left  # the next run removes it: it never piles up
        litter += len(left)
    assert call > 4 and seen == {old, b"new" * 9999} and path.read_bytes() == b"new" * 9999
    assert os.listdir(tmp_path) == ["a.inrv"]
    assert litter == 0 or way == "named" or old is not None


def test_two_writers_at_once_end_in_one_whole_file(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    broken: list[Exception] = []

    def many(letter: bytes) -> None:
        try:
            for _ in range(25):
                write(path, letter * 5000)
        except Exception as error:
            broken.append(error)

    writers = [threading.Thread(target=many, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    data = path.read_bytes()
    assert (
        not broken
        and len(data) == 5000
        and len(set(data)) == 1
        and os.listdir(tmp_path) == ["a.inrv"]
    )


def test_only_what_is_left_behind_is_removed(tmp_path: Path) -> None:
    names = [
        ".a.inrv.0123abcd.partial",
        ".a.inrv.0123abcg.partial",
        ".b.inrv.0123abcd.partial",
        "a.inrv.partial",
    ]
    for name in names:
        (tmp_path / name).touch()
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".a.inrv.ffffffff.partial").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        remove_partial(tmp_path / "a.inrv")
        assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], ".a.inrv.ffffffff.partial"])
    write(tmp_path / "a.inrv", b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a.inrv"])


@pytest.mark.parametrize("failing", ["fsync", "replace", "link"])
def test_a_full_disk_leaves_the_old_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise FULL

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputError, match=r"a\.inrv cannot be written: No space left on device"):
        write(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.inrv"]


def test_a_limit_on_the_size_of_files(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(b"old")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.inrv cannot be written: File too large"):
            write(path, b"new" * (1 << 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.inrv"]


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("folder", "it is a folder"),
        ("pipe", "not a regular file"),
        ("missing/a.inrv", "No such file or directory"),
        ("file/a.inrv", "Not a directory"),
    ):
        with pytest.raises(OutputError, match=f"{name} cannot be written: .*{words}"):
            write(tmp_path / name, b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "pipe"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    for number in range(2):
        with atomic_folder(target, lambda _: True) as made:
            (made / "inner").mkdir()
            (made / "inner" / f"{number}").write_text("whole")
            assert target.exists() == bool(number)
        assert os.listdir(target / "inner") == [f"{number}"] and os.listdir(tmp_path) == ["a.zarr"]
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic_folder(target, lambda _: True) as made,
    ):
        (made / "2").write_text("half")
        raise FULL
    assert os.listdir(target / "inner") == ["1"] and os.listdir(tmp_path) == ["a.zarr"]
    with pytest.raises(OutputError, match="something else"), atomic_folder(target, lambda _: False):
        pass


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "a.zarr", os.rename
    target.mkdir()
    (target / "old").write_text("old")

    def fails(source: Any, to: Any) -> None:
        if str(to) == str(target) and "partial" in str(source):
            raise FULL
        rename(source, to)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OutputError), atomic_folder(target, lambda _: True) as made:
        (made / "new").write_text("new")
    assert os.listdir(target) == ["old"] and os.listdir(tmp_path) == ["a.zarr"]


def test_what_a_killed_run_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".a.zarr.0123abcd.partial"
    (left / "a.zarr").mkdir(parents=True)
    with atomic_folder(tmp_path / "a.zarr", lambda _: True):
        assert not left.exists()


def test_what_threads_still_write_is_removed_too(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        for number in range(20):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(number)).touch()
            time.sleep(0.01)

    with (
        pytest.raises(KeyboardInterrupt),
        atomic_folder(tmp_path / "a.zarr", lambda _: True) as made,
    ):
        thread = threading.Thread(target=write, args=(made / "c",))
        thread.start()
        raise KeyboardInterrupt
    thread.join()
    assert os.listdir(tmp_path) == []
