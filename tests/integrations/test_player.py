"""What the Blender extension decodes and shows, without Blender."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files
from inrv.scenes import VdbCache
from integrations.blender.inrv_volumes.player import (
    MODES,
    Playback,
    Player,
    Prefetcher,
    shown_number,
)

LOSSLESS = inrv.EncodeOptions(lossless=True, effort="instant")
GAP = (60, 61, 63)  # the numbers of the frames


def fog(strength: float) -> np.ndarray:
    x = np.linspace(-1, 1, 12, dtype=np.float32)
    return np.float32(strength) * np.exp(-(x[:, None, None] ** 2) - x[:, None] ** 2 - x**2)


def write(path: Path, numbers: tuple[int, ...], strength: float = 1.0) -> None:
    with inrv.SequenceWriter(path, LOSSLESS, fps=24, group=1, overwrite=True) as writer:
        for number in numbers:
            writer.add(None, {"density": fog(strength * number)}, number=number)


@pytest.fixture
def player(tmp_path: Path) -> Player:
    write(tmp_path / "run.inrv", GAP)
    return Player(tmp_path / "run.inrv", VdbCache(tmp_path / "cache"))


@pytest.fixture
def prefetcher(player: Player) -> Iterator[Prefetcher]:
    held = Prefetcher(player.cache)
    yield held
    held.close()


def shown(player: Player, frame: float, **playback: object) -> float | None:
    found = player.frame_at(frame, Playback(**playback))  # type: ignore[arg-type]
    return None if found is None else found.number


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("CLIP", [None, 10, 11, 11, 13, None, None, None]),
        ("EXTEND", [10, 10, 11, 11, 13, 13, 13, 13]),
        ("REPEAT", [13, 10, 11, 11, 13, 10, 11, 11]),
        ("PING_PONG", [11, 10, 11, 11, 13, 11, 11, 10]),
    ],
)
def test_modes(mode: str, wanted: list[int | None]) -> None:
    assert mode in MODES
    found = [shown_number((10, 11, 13), frame, mode) for frame in range(9, 17)]
    assert found == wanted


def test_modes_of_few_and_of_uneven_frames() -> None:
    for mode in MODES:
        assert shown_number((), 5, mode) is None
        assert shown_number((5,), 5, mode) == 5
        assert shown_number((5,), 9, mode) == (None if mode == "CLIP" else 5)
        assert shown_number((1, 1.5, 2), 1.75, mode, 0.5) == 1.5
    assert shown_number((1, 3, 5), 6, "CLIP", 2) == 5  # lasts as long as the others
    assert shown_number((1, 3, 5), 7, "REPEAT", 2) == 1


def test_the_frame_before_is_shown_where_one_is_missing(player: Player) -> None:
    assert [shown(player, frame) for frame in (1, 60, 62, 63, 99)] == [60, 60, 61, 63, 63]
    assert shown(player, 1, offset=60) == 61
    assert shown(player, 99, mode="CLIP") is None


def test_a_single_volume_is_always_shown(tmp_path: Path) -> None:
    inrv.encode({"density": fog(1)}, tmp_path / "a.inrv", LOSSLESS)
    player = Player(tmp_path / "a.inrv", VdbCache(tmp_path))
    assert shown(player, -5, mode="CLIP") == 0 and player.ahead(-5, Playback(), 9) == []


def test_what_comes_next_is_each_frame_once(player: Player) -> None:
    assert [own.number for own in player.ahead(60, Playback(), 9)] == [61, 63]
    assert [own.number for own in player.ahead(61, Playback(mode="REPEAT"), 9)] == [63, 60]
    assert [own.number for own in player.ahead(61, Playback(), 1)] == []


def test_a_file_that_has_changed_is_opened_anew(player: Player, prefetcher: Prefetcher) -> None:
    volume = player.frame_at(60, Playback())
    assert volume is not None and player.volume is player.volume
    before = prefetcher.show("a", volume, 0)
    write(player.path, (60, 61), strength=2.0)
    later = player.frame_at(60, Playback())
    assert later is not None
    after = prefetcher.show("a", later, 0)
    assert after != before
    assert np.array_equal(files.read(after).grids[0].values.max(), fog(120).max())
    assert shown(player, 99) == 61
    player.path.write_bytes(b"nonsense")
    with pytest.raises(inrv.FormatError):
        player.frame_at(60, Playback())


def test_frames_are_decoded_ahead_in_the_background(player: Player, prefetcher: Prefetcher) -> None:
    ahead = player.ahead(60, Playback(), 9)
    prefetcher.ask("a", ahead, 1)
    assert prefetcher.wait() and prefetcher.errors == {}
    assert {path.name for path in player.cache.files()} == {
        player.cache.path_of(own, 1).name for own in ahead
    }


def test_nobody_decodes_what_another_one_decodes(
    player: Player, prefetcher: Prefetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, begun, go_on = list[float](), threading.Event(), threading.Event()
    original = inrv.Volume.to_vdb

    def slow(volume: inrv.Volume, target: Path, level: int = 0) -> None:
        decoded.append(volume.number)
        begun.set()
        assert go_on.wait(30)
        original(volume, target, level)

    monkeypatch.setattr(inrv.Volume, "to_vdb", slow)
    volume = player.volume.frames[61]
    prefetcher.ask("a", [volume], 0)
    assert begun.wait(30) and not prefetcher.wait(0.01)
    threading.Timer(0.05, go_on.set).start()
    assert prefetcher.show("a", volume, 0).is_file() and prefetcher.wait()
    assert decoded == [61]


def test_the_cache_keeps_its_size(tmp_path: Path) -> None:
    write(tmp_path / "run.inrv", tuple(range(1, 9)))
    player = Player(tmp_path / "run.inrv", VdbCache(tmp_path / "cache"))
    prefetcher = Prefetcher(player.cache)
    try:
        size = prefetcher.show("a", player.volume.frames[1], 0).stat().st_size
        player.cache.most_bytes = 3 * size
        for frame in range(1, 9):
            volume = player.frame_at(frame, Playback())
            assert volume is not None
            path = prefetcher.show("a", volume, 0)
            prefetcher.ask("a", player.ahead(frame, Playback(), 7), 0)
            assert prefetcher.wait() and path.is_file()
            held = player.cache.files()
            assert sum(own.stat().st_size for own in held) < 5 * size
            comes = [player.cache.path_of(own) for own in player.ahead(frame, Playback(), 2)]
            assert set(comes) <= set(held)
        prefetcher.forget_all_but([])
        assert prefetcher.shown() == set()
    finally:
        prefetcher.close()


def test_an_error_in_the_background_is_kept_and_ends_nothing(
    player: Player, prefetcher: Prefetcher
) -> None:
    player.cache.folder.write_bytes(b"")  # no folder can be made there
    volume = player.volume.frames[60]
    prefetcher.ask("a", [volume], 0)
    assert prefetcher.wait()
    assert "cannot be made" in str(prefetcher.errors[player.cache.path_of(volume)])
    player.cache.folder.unlink()
    prefetcher.ask("a", [volume], 0)
    assert prefetcher.wait() and prefetcher.errors == {}
    assert player.cache.path_of(volume).is_file()


def test_a_closed_prefetcher_does_nothing(player: Player, prefetcher: Prefetcher) -> None:
    prefetcher.close()
    prefetcher.ask("a", [player.volume], 0)
    assert player.cache.files() == []
