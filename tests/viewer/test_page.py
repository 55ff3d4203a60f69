"""The viewer in a browser without a window."""

from __future__ import annotations

import base64
import dataclasses
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, files
from inrv.support.inputs import BytesInput
from inrv.viewer.page import page_with, whole_page
from inrv.viewer.served import ServedVolume
from inrv.viewer.server import ViewServer
from inrv.viewer.widget import SCRIPT
from testing.browser import Page, page
from testing.raymarch import Field, picture
from testing.server import serving
from testing.viewer import built

FIRE = Path("fixtures/fire.vdb")
STORED = Path(__file__).with_name("fire.png")
SLOWLY = "inrv.app.player.timeline.rate = 5"  # so that each frame is seen, on slow machines too


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    built()
    with page() as opened:
        yield opened


@pytest.fixture(scope="module")
def fire() -> bytes:
    data, _ = inrv.encode_bytes(FIRE, EncodeOptions(effort="instant", psnr=45))
    return data


@contextmanager
def served(*shown: tuple[str, Any], **settings: Any) -> Iterator[str]:
    server = ViewServer(shown, settings)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def shown(browser: Page, fire: bytes) -> Iterator[Page]:
    """The fire in 160 x 120 pixels, which are drawn when a test says so."""
    with served(("fire.inrv", BytesInput("fire.inrv", fire))) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        browser.evaluate(
            "inrv.app.still = true, [inrv.app.renderer.canvas.width, "
            "inrv.app.renderer.canvas.height] = [160, 120]"
        )
        yield browser


def drawn(page: Page, call: str = "inrv.app.drawExact()") -> NDArray[np.uint8]:
    image = pytest.importorskip("PIL.Image")
    text = page.evaluate(f"{call}, inrv.app.renderer.canvas.toDataURL('image/png')")
    data = base64.b64decode(text.partition(",")[2])
    return np.asarray(image.open(io.BytesIO(data)).convert("RGB"))


def field(grid: inrv.VolumeGrid) -> Field:
    assert grid.box is not None
    values = grid.dense(grid.box)
    return Field(
        np.asarray(values, dtype=np.float64).reshape(values.shape[:3]),
        np.array(grid.box.lower, dtype=np.float64),
        0.0,  # the background of both grids
        np.array(grid.transform.array()),
    )


def test_the_picture_is_that_of_a_marcher_in_numpy(shown: Page, fire: bytes) -> None:
    found = drawn(shown).astype(int)
    volume = inrv.load(fire)
    expected = picture(
        shown.evaluate("inrv.app.told()"), field(volume["density"]), field(volume["temperature"])
    )
    apart = np.abs(found - expected)
    # The atlas has 11 bits, the colours 8: hardly a pixel is off by more than a few steps of 255.
    assert expected.std() > 20
    assert apart.mean() < 0.6 and np.percentile(apart, 99.5) <= 3
    assert not shown.errors


def test_the_picture_is_the_stored_one(shown: Page) -> None:
    """It was drawn by Chromium 150; another version may round otherwise."""
    image = pytest.importorskip("PIL.Image")
    with image.open(STORED) as picture:
        stored = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(drawn(shown) - stored).mean() < 0.5


def test_a_slice_has_the_values_of_the_file(shown: Page, fire: bytes) -> None:
    grid = inrv.load(fire)["density"]
    assert grid.box is not None
    found = shown.evaluate(
        "inrv.app.voxels()"
        ".then(v => v.plane(2, 30, inrv.app.grid.box.lower, inrv.app.grid.box.upper))"
        ".then(p => ({values: Array.from(p.values), active: Array.from(p.active), wide: p.wide}))"
    )
    values = np.reshape(found["values"], (-1, found["wide"])).astype(np.float32)
    box = ((*grid.box.lower[:2], 30), (*grid.box.upper[:2], 30))
    np.testing.assert_array_equal(values.T, grid.dense(box)[:, :, 0].reshape(values.T.shape))
    active = np.reshape(found["active"], values.shape).T.astype(bool)
    assert active.sum() == (grid.coordinates()[:, 2] == 30).sum()


def test_a_voxel_is_described_in_words(shown: Page, fire: bytes) -> None:
    value = inrv.load(fire)["density"].voxels([[30, 30, 20]]).item()
    shown.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
    shown.evaluate(
        "inrv.app.voxels().then(v => inrv.panel.slices.show(v, inrv.app.look, true)).then(() => {"
        "inrv.panel.slices.at.splice(0, 3, 30, 30, 20);"
        "const c = document.querySelector('.slices canvas');"
        "const a = c.getBoundingClientRect(), b = inrv.app.grid.box;"
        "c.dispatchEvent(new PointerEvent('pointermove', {"
        "clientX: a.left + (30.5 - b.lower[1]) / (b.upper[1] - b.lower[1] + 1) * a.width,"
        "clientY: a.top + (b.upper[2] + 0.5 - 20) / (b.upper[2] - b.lower[2] + 1) * a.height})) })"
    )
    shown.until("document.querySelector('.cursor').textContent.includes('(30, 30, 20)')")
    text = shown.evaluate("document.querySelector('.cursor').textContent")
    assert text.startswith("density = ") and text.endswith(", active")
    assert np.float32(text.split()[2]) == pytest.approx(value, rel=1e-6)


def test_a_coarse_region_that_comes_late_replaces_nothing(browser: Page, fire: bytes) -> None:
    with served(("fire.inrv", BytesInput("fire.inrv", fire))) as url:
        browser.go(url)
        browser.evaluate(
            "(() => { const { app } = inrv, own = app.volume.block;"
            "app.volume.block = async (...asked) => { const found = await own(...asked);"
            "if (asked[2]) await new Promise(done => setTimeout(done, 200)); return found; };"
            "app.choose(app.grid); return app.settled() })()"
        )
        assert browser.evaluate("inrv.app.shown.map(own => own.bricks.level)") == [0, 0]


def test_active_voxels_are_marked(browser: Page) -> None:
    """They have the value of the others, so that nothing else tells them."""
    active = np.zeros((16, 16, 16), dtype=bool)
    active[4:12, 4:12, 4:12] = True
    array = np.zeros(active.shape, dtype=np.float32)
    grid = inrv.sparse_grid(array, active=active, grid_class="fog volume")
    without = drawn_grid(browser, grid).astype(int)
    browser.evaluate("inrv.app.mark(true), inrv.app.settled()")
    marked = np.abs(drawn(browser) - without).max(axis=-1) > 20
    # A cube of 8 voxels, of which the camera sees 10 around it.
    assert 0.1 < marked.mean() < 0.4 and marked[60, 80] and not marked[5, 5]
    browser.evaluate("inrv.app.mark(false), inrv.app.settled()")
    np.testing.assert_array_equal(drawn(browser), without)


def test_frames_that_python_reads_are_played(browser: Page) -> None:
    arrays = [np.full((8, 8, 8), 1 + place, dtype=np.float32) for place in range(3)]

    def read(place: int) -> inrv.SparseVolume:
        if place == 1:
            raise OSError("fire.0011.vdb is broken")
        return inrv.SparseVolume((inrv.sparse_grid(arrays[place]),))

    with served(("fire.####.vdb", ServedVolume((10, 11, 12), read))) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        browser.evaluate(f"{SLOWLY}, document.querySelector('footer button').click()")
        for place in (1, 2):  # one that cannot be read is not waited for
            browser.until(f"inrv.app.player.place === {place}")
        browser.evaluate("inrv.app.player.playing = false, inrv.app.go(2), inrv.app.settled()")
        assert browser.evaluate("inrv.app.voxels().then(v => v.at([3, 3, 3]))")["values"] == [3]
        assert browser.evaluate("inrv.app.volume.timeline.frames[2].number") == 12
        browser.evaluate("inrv.app.go(1)")
        browser.until("document.querySelector('.message').textContent.includes('0011')")


@contextmanager
def frames_of(*grids: inrv.Grid | None) -> Iterator[ServedVolume]:
    """Frames of one grid each; None: of none."""
    volumes = [inrv.SparseVolume(() if own is None else (own,)) for own in grids]
    yield ServedVolume(range(10, 10 + len(grids)), volumes.__getitem__)


def ball(value: float, name: str = "density", edge: int = 16) -> inrv.Grid:
    return inrv.sparse_grid(np.full((edge,) * 3, value, dtype=np.float32), name)


def test_a_shot_may_begin_with_an_empty_frame(browser: Page) -> None:
    frames = [None, ball(1), ball(2)]
    with frames_of(*frames) as shot, served(("a.####.vdb", shot)) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("[inrv.app.player.place, inrv.app.grid.name]") == [1, "density"]
        browser.evaluate("inrv.app.go(0)")
        browser.until("inrv.app.grids.length === 0")
        browser.evaluate("inrv.app.go(2), inrv.app.settled()")
        assert browser.evaluate("[inrv.app.error, inrv.app.grids.length]") == ["", 1]


def test_slices_are_of_the_frame_that_is_due(browser: Page) -> None:
    with frames_of(ball(1), ball(2, edge=24)) as shot, served(("a.####.vdb", shot)) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        browser.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
        browser.until("document.querySelector('.slices canvas').width === 16")
        browser.evaluate("inrv.app.go(1)")
        browser.until("document.querySelector('.slices canvas').width === 24")
        browser.until("document.querySelector('.about').textContent.includes('24 × 24 × 24')")


def test_differences_play_of_frames_that_both_have(browser: Page) -> None:
    frames, others = [ball(1), ball(2), ball(3)], [ball(1.25), ball(2.5)]
    with (
        frames_of(*frames) as shot,
        frames_of(*others) as reference,
        served(("a.####.vdb", shot), ("b.####.vdb", reference)) as url,
    ):
        browser.go(url)
        browser.evaluate("inrv.app.compare('difference'), inrv.app.settled()")
        browser.evaluate(f"{SLOWLY}, inrv.app.player.play(performance.now()), inrv.app.go(0)")
        browser.until("inrv.app.player.place === 1")
        browser.evaluate("inrv.app.player.playing = false, inrv.app.go(1), inrv.app.settled()")
        assert browser.evaluate("[0, 1].map(own => inrv.app.difference.worst(0, own))") == [
            0.25,
            0.5,
        ]
        browser.evaluate("inrv.app.go(2)")
        browser.until("inrv.app.error === 'b.####.vdb has no frame 12'")


def test_differences_of_vectors_are_those_of_their_components(browser: Page) -> None:
    array = np.ones((8, 8, 8, 3), dtype=np.float32)
    grids = [inrv.sparse_grid(own, "v") for own in (array, array + np.float32([0, 0.5, 0.25]))]
    one, other = (ServedVolume.of(inrv.SparseVolume((own,))) for own in grids)
    with served(("a.vdb", one), ("b.vdb", other)) as url:
        browser.go(url)
        browser.evaluate("inrv.app.compare('difference'), inrv.app.settled()")
        assert browser.evaluate("[inrv.app.error, inrv.app.difference.worst(0)]") == ["", 0.5]


def test_differences_of_large_tiles_are_seen(browser: Page) -> None:
    grid, shown = ball(1), []
    topology = dataclasses.replace(
        grid.topology,
        tile_origins=np.array([[4096, 0, 0]], dtype=np.int32),
        tile_edges=np.array([4096], dtype=np.int32),
        tile_active=np.array([True]),
    )
    for value in (1, 1.5):
        tile_values = np.full((1, 1), value, dtype=np.float32)
        tiled = dataclasses.replace(grid, topology=topology, tile_values=tile_values)
        shown.append((f"{value}.vdb", ServedVolume.of(inrv.SparseVolume((tiled,)))))
    with served(*shown) as url:
        browser.go(url)
        browser.evaluate("inrv.app.compare('difference'), inrv.app.settled()")
        assert browser.evaluate("[inrv.app.error, inrv.app.difference.worst(0)]") == ["", 0.5]


def test_what_is_thin_is_found(browser: Page) -> None:
    array = np.zeros((40, 40, 40), dtype=np.float32)
    array[:, 21] = 3
    volume = ServedVolume.of(inrv.SparseVolume((inrv.sparse_grid(array),)))
    with served(("thin.vdb", volume)) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("[inrv.app.remark, ...inrv.app.histogram.seen]") == ["", 3, 3]


def test_a_reference_needs_no_glow(browser: Page) -> None:
    both = ServedVolume.of(inrv.SparseVolume((ball(1), ball(1, "temperature"))))
    alone = ServedVolume.of(inrv.SparseVolume((ball(1),)))
    with served(("a.vdb", both), ("b.vdb", alone)) as url:
        browser.go(url)
        for how in ("side by side", "difference", "one"):
            browser.evaluate(f"inrv.app.compare('{how}'), inrv.app.settled()")
            assert browser.evaluate("inrv.app.error") == ""


def test_a_surface_has_no_holes(browser: Page) -> None:
    """It lies a little above the border of blocks, by which rays leave them right behind it."""
    places = np.arange(64, dtype=np.float32)
    height = places - 41.9 + 0.03 * places[:, None, None] + 0.02 * places[:, None]
    values = np.clip(height, -3, 3).astype(np.float32)
    every = np.ones(values.shape, dtype=bool)
    grid = inrv.sparse_grid(values, "floor", background=3.0, grid_class="level set", active=every)
    drawn_grid(browser, grid, coded=False)
    browser.evaluate("inrv.app.camera.up = 2, inrv.app.camera.rise = 1.5")
    long = drawn(browser, "inrv.app.camera.distance = 60, inrv.app.drawExact()").astype(int)
    short = drawn(browser, "inrv.app.stepVoxels = 0.2, inrv.app.drawExact()")
    assert np.abs(long - short)[30:90, 40:120].max() <= 6


def test_background_between_the_values_is_clear(browser: Page) -> None:
    places = np.linspace(-1, 1, 32, dtype=np.float32)
    distance = np.hypot(np.hypot(places[:, None, None], places[:, None]), places)
    array = np.where(distance < 0.8, np.sign(places)[:, None, None], 0).astype(np.float32)
    active = distance < 0.8
    grid = inrv.sparse_grid(array, "pressure", active=active, grid_class="unknown")
    picture = drawn_grid(browser, grid, coded=False).astype(int)
    assert browser.evaluate("[inrv.app.look.map, ...inrv.app.look.window]") == [
        "blue to red",
        -1,
        1,
    ]
    middle = picture[60, 60:100]
    assert (middle[:, 0] - middle[:, 2]).max() > 40 and (middle[:, 2] - middle[:, 0]).max() > 40
    corner = drawn(browser, "inrv.app.look.window = [-1e9, 1e9], inrv.app.drawExact()")[20, 50]
    assert np.abs(picture[20, 50] - corner).max() <= 3  # nothing lies there but background


def test_small_differences_of_large_values_are_told_apart(browser: Page) -> None:
    places = np.linspace(-1, 1, 32, dtype=np.float32)
    array = np.broadcast_to(places[:, None, None], (32, 32, 32))
    pictures = []
    for middle in (100, 101325):
        values = (middle + 100 * array).astype(np.float32)
        every = np.ones(values.shape, dtype=bool)
        grid = inrv.sparse_grid(values, "p", grid_class="unknown", active=every)
        background = np.full(1, middle - 100, dtype=np.float32)
        grid = dataclasses.replace(grid, background=background)
        pictures.append(drawn_grid(browser, grid, coded=False))
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 3


def test_a_page_that_holds_its_file_opens_from_the_disk(
    browser: Page, fire: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "my fire.html"
    path.write_bytes(whole_page("</script> fire.inrv", fire, {}))
    browser.go(path.as_uri())
    browser.evaluate("inrv.app.settled()")
    assert browser.evaluate("inrv.app.shown.map(own => own.bricks.level)") == [0, 0]
    assert browser.evaluate("document.querySelector('h1').textContent") == "</script> fire.inrv"


def test_a_vdb_file_is_shown_too_and_compared(browser: Page, fire: bytes) -> None:
    source, volume = files.read(FIRE), inrv.load(fire)
    coded = ("fire.inrv", BytesInput("fire.inrv", fire))
    reference = ("fire.vdb", ServedVolume.of(source))
    with served(coded, reference) as url:
        browser.go(url)
        for how in ("wipe", "side by side", "difference"):
            browser.evaluate(f"inrv.app.compare('{how}'), inrv.app.settled()")
        worst = browser.evaluate("inrv.app.difference.worst(0)")
    grid, decoded = source.grids[0], volume["density"]
    expected = np.abs(
        grid.dense(decoded.box)[..., 0] - decoded.dense(decoded.box).reshape(decoded.box.shape)
    ).max()
    assert worst == pytest.approx(expected, rel=1e-6)


def test_a_sequence_is_played(browser: Page) -> None:
    path = Path("fixtures/golden/motion.inrv")
    count = len(inrv.load(path).frames)
    with served(("motion.inrv", BytesInput("motion.inrv", path.read_bytes()))) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("inrv.app.player.count") == count > 1
        browser.evaluate(f"{SLOWLY}, document.querySelector('footer button').click()")
        for place in (*range(1, count), 0):  # and begins again
            browser.until(f"inrv.app.player.place === {place}")
        browser.evaluate("inrv.app.player.playing = false, inrv.app.go(1), inrv.app.settled()")
        number = list(inrv.load(path).frames)[1]
        found = browser.evaluate(
            "inrv.app.voxels().then(v => v.plane(2, 5, [0, 0, 0], [20, 20, 20]))"
            ".then(p => Array.from(p.values))"
        )
        browser.until(
            f"document.querySelector('footer output').textContent.startsWith('frame {number:g},')"
        )
        name = browser.evaluate("inrv.app.grid.name")
    values = inrv.load(path).frames[number][name].dense(((0, 0, 5), (20, 20, 5)))
    expected = np.linalg.norm(values.reshape(21, 21, -1), axis=-1) if values.ndim > 3 else values
    np.testing.assert_allclose(np.reshape(found, (21, 21)).T, expected.reshape(21, 21), rtol=1e-6)


def test_what_cannot_be_shown_is_told(browser: Page, fire: bytes) -> None:
    damaged = fire[:40] + bytes([fire[40] ^ 1]) + fire[41:]
    nothing, _ = inrv.encode_bytes(Path("fixtures/empty.vdb"))
    for data, words in ((damaged, "broken.inrv cannot be read:"), (nothing, "no grid with values")):
        with served(("broken.inrv", BytesInput("broken.inrv", data))) as url:
            browser.go(url)
            assert words in browser.evaluate("document.querySelector('.message').textContent")


def test_controls_without_a_grid_do_nothing(browser: Page) -> None:
    nothing, _ = inrv.encode_bytes(Path("fixtures/empty.vdb"))
    browser.errors.clear()
    with served(("empty.inrv", BytesInput("empty.inrv", nothing))) as url:
        browser.go(url)
        browser.errors.clear()  # that nothing can be shown
        browser.evaluate(
            "[...'fug,. '].forEach(key => document.body.dispatchEvent("
            "new KeyboardEvent('keydown', {key, bubbles: true}))),"
            "document.querySelectorAll('aside select, aside input').forEach("
            "own => own.dispatchEvent(new Event(own.type === 'range' ? 'input' : 'change')))"
        )
        browser.evaluate("new Promise(requestAnimationFrame)")
    assert not browser.errors


def test_what_does_not_fit_is_shown_coarser_and_told(browser: Page, fire: bytes) -> None:
    with served(("fire.inrv", BytesInput("fire.inrv", fire)), budget=1 << 20) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("inrv.app.shown[0].bricks.level") > 0
        browser.until("document.querySelector('.status').textContent.includes('voxel is shown')")


def test_a_static_page_reads_what_its_address_names(
    browser: Page, fire: bytes, tmp_path: Path
) -> None:
    (tmp_path / "view.html").write_bytes(page_with({}))
    (tmp_path / "fire.inrv").write_bytes(fire)
    with serving(tmp_path) as server:
        browser.go(f"{server.url}/view.html?file=fire.inrv")
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("inrv.app.shown.map(own => own.bricks.level)") == [0, 0]


def drawn_grid(browser: Page, grid: inrv.Grid, coded: bool = True) -> NDArray[np.uint8]:
    """Give the picture of a grid in 160 x 120 pixels, from an .inrv file or from the server."""
    data, _ = inrv.encode_bytes(grid, EncodeOptions(effort="instant"))
    shown = BytesInput("grid.inrv", data) if coded else ServedVolume.of(inrv.SparseVolume((grid,)))
    with served(("grid.inrv", shown)) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        browser.evaluate(
            "inrv.app.still = true, [inrv.app.renderer.canvas.width, "
            "inrv.app.renderer.canvas.height] = [160, 120]"
        )
        # All of it is decoded at its finest, however small the pixels are that it takes.
        browser.evaluate(
            "inrv.app.camera.pixel = () => 1e-9, inrv.app.touch(true), inrv.app.settled()"
        )
        assert browser.evaluate("inrv.app.shown[0].bricks.level") == 0
        return drawn(browser)


@pytest.mark.parametrize("value", [-3.0, 0.0, 1e-20, 3.0])
def test_a_constant_grid_is_seen(browser: Page, value: float) -> None:
    array = np.full((16, 16, 16), value, dtype=np.float32)
    every = np.ones(array.shape, dtype=bool)
    grid = inrv.sparse_grid(array, "constant", active=every, grid_class="unknown")
    assert drawn_grid(browser, grid).astype(int).std() > 5


def test_values_beyond_the_range_of_the_coded_ones_are_seen(browser: Page) -> None:
    array = np.random.default_rng(0).random((40, 40, 40), dtype=np.float32)
    array[:20] = 50  # so frequent that they are stored apart
    grid = inrv.sparse_grid(array, "mostly one value", grid_class="unknown")
    apart = drawn_grid(browser, grid).astype(int) - drawn_grid(browser, grid, coded=False)
    assert np.abs(apart).max() <= 3
    assert browser.evaluate("inrv.app.grid.ranges[0].maximum") == 50


def test_a_grid_far_away_is_drawn_as_one_that_is_near(browser: Page) -> None:
    places = np.linspace(-1, 1, 32, dtype=np.float32)
    array = np.maximum(1 - np.hypot(np.hypot(places[:, None, None], places[:, None]), places), 0)
    pictures = []
    for offset in (0.0, 5e6):
        matrix = np.eye(4)
        matrix[3, :3] = offset
        grid = inrv.sparse_grid(array, transform=inrv.Transform("AffineMap", matrix))
        pictures.append(drawn_grid(browser, grid).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 3


def test_clipping_follows_the_axes_of_a_turned_grid(browser: Page) -> None:
    array = np.ones((32, 32, 32), dtype=np.float32)
    matrix = np.eye(4)
    matrix[:2, :2] = [[0.6, 0.8], [-0.8, 0.6]]
    drawn_grid(browser, inrv.sparse_grid(array, transform=inrv.Transform("AffineMap", matrix)))
    before = drawn(browser, "inrv.app.backdrop = 'black', inrv.app.drawExact()")
    after = drawn(browser, "inrv.app.clip[1][0] = 0.5, inrv.app.drawExact()")
    seen = [(own.max(axis=-1) > 30).sum() for own in (before, after)]
    assert 0.3 < seen[1] / seen[0] < 0.8
    assert not browser.errors


def test_numbers_that_are_not_finite_reach_the_page(browser: Page) -> None:
    array = np.full((16, 16, 16), np.nan, dtype=np.float32)
    array[4:8, 4:8, 4:8] = 1
    grid = inrv.sparse_grid(array)
    background = np.full(1, np.nan, dtype=np.float32)
    volume = inrv.SparseVolume((dataclasses.replace(grid, background=background),))
    with served(("nan.vdb", ServedVolume.of(volume))) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        assert browser.evaluate("inrv.app.grid.name") == "density"


def test_the_widget_of_a_notebook_shows_a_volume(
    browser: Page, fire: bytes, tmp_path: Path
) -> None:
    """The script that anywidget runs, with a model that has what the widget has."""
    held = whole_page("fire.inrv", fire, {"grid": "temperature"}).decode()
    (tmp_path / "held.html").write_text(held)
    (tmp_path / "script.js").write_text(SCRIPT)
    (tmp_path / "notebook.html").write_text('<p class="message">a cell</p><div></div>')
    with serving(tmp_path) as server:
        browser.go(f"{server.url}/notebook.html")
        browser.evaluate(
            "Promise.all(['held.html', 'script.js'].map(own => fetch(own).then(a => a.text())))"
            ".then(async ([page, text]) => {"
            "const url = URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));"
            "const held = { page, height: 300 }, el = document.querySelector('div');"
            "(await import(url)).default.render({ model: { get: name => held[name] }, el }) })"
        )
        shown = "document.querySelector('iframe').contentWindow.inrv?.app"
        browser.until(f"{shown}?.shown.length && {shown}.shown.every(own => own.isDone)")
        assert browser.evaluate(f"{shown}.grid.name") == "temperature"
