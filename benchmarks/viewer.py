"""The viewer: seconds to its pictures, pictures a second, and sizes: `python -m benchmarks.viewer`.

Each .vdb file is encoded (effort instant, 45 dB), then `inrv view` is started as a user starts it.
Seconds count from there: until the server answers, until every region of the volume was drawn at
some level, and until all of it is at its finest one. Then the camera turns for --seconds, in
1280 x 720, of which a share of the pixels is drawn: the page lowers it until pictures come quickly.
The browser has no window, and where there is no GPU its own software draws. Without a file it takes
burner.vdb of the corpus, and the fixtures' fire.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import inrv
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv.viewer.page import PAGE, whole_page
from testing.browser import Page, page

HEADER = [
    "file",
    ".inrv",
    "page that holds it",
    "server s",
    "first s",
    "all s",
    "pictures/s",
    "pixels of them",
]
TURN = """new Promise(done => {
  const { app } = inrv, times = [], end = performance.now() + %d;
  const step = now => {
    times.push(now);
    app.camera.rotate(0.02, 0);
    app.touch(true);
    if (now < end) requestAnimationFrame(step); else done(times);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    """Measure every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    burner = CORPUS / "burner.vdb"
    default = [ROOT / "fixtures" / "fire.vdb", *([burner] if burner.exists() else [])]
    parser.add_argument("files", nargs="*", type=Path, default=default, metavar="FILE.vdb")
    parser.add_argument("--seconds", type=float, default=5.0, help="of turning (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="medians are given (%(default)s)")
    parser.add_argument("--name", default="viewer", help="name of the results (%(default)s)")
    arguments = parser.parse_args()
    rows, device = [], ""
    with tempfile.TemporaryDirectory() as folder:
        for file in arguments.files:
            path = Path(folder, file.with_suffix(".inrv").name)
            inrv.encode(file, path, inrv.EncodeOptions(effort="instant", psnr=45))
            runs = [measure(path, arguments.seconds) for _ in range(arguments.runs)]
            device = runs[0].pop("device")
            medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            whole = len(whole_page(path.name, path.read_bytes(), {}))
            rows.append({"file": file.name, "bytes": path.stat().st_size, "html": whole, **medians})
            print(rows[-1], flush=True)
    run = environment("cpu")
    packed = len(gzip.compress(PAGE.read_bytes()))
    sizes = f"The page takes {PAGE.stat().st_size:,} bytes, and {packed:,} after gzip."
    shown = table(HEADER, [cells(row) for row in rows])
    text = f"# The viewer\n\n{describe(run)}; drawn by {device}\n\n{sizes}\n\n{shown}"
    save(arguments.name, text, {"environment": run, "device": device, "rows": rows})


def measure(path: Path, seconds: float) -> dict[str, Any]:
    """Start the viewer, and look at it."""
    with page() as browser:
        started = time.perf_counter()
        command = [sys.executable, "-m", "inrv_cli", "view", str(path), "--no-open"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            served = time.perf_counter() - started
            try:
                found = watched(browser, url, started, seconds)
            finally:
                process.terminate()
    return {"served": served, **found}


def watched(browser: Page, url: str, started: float, seconds: float) -> dict[str, Any]:
    """Open the page, and wait for its pictures."""
    browser.go(url)
    browser.until("inrv.app.shown.length && inrv.app.shown.every(own => own.bricks.level <= 6)")
    first = time.perf_counter() - started
    browser.until("inrv.app.shown.every(own => own.isDone)")
    done = time.perf_counter() - started
    times = browser.evaluate(TURN % (1000 * seconds))
    scale = browser.evaluate("inrv.app.draftScale")
    device = browser.evaluate("inrv.app.renderer.device")
    rate = 1000 * (len(times) - 1) / (times[-1] - times[0])
    return {"first": first, "all": done, "rate": rate, "pixels": scale**2, "device": device}


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row of the table."""
    times = [f"{row[key]:.1f}" for key in ("served", "first", "all")]
    turning = [f"{row['rate']:.1f}", f"{row['pixels']:.0%}"]
    return [row["file"], f"{row['bytes']:,}", f"{row['html']:,}", *times, *turning]


if __name__ == "__main__":
    main()
