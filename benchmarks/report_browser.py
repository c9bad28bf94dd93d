"""How large reports open and zoom in Chromium: a million timesteps, 100 hours, 20,000 clips, a store of 20,000 clips.

    python benchmarks/report_browser.py

Reports are made of random labels and rows. Prints the size of each page, the seconds to make it, and in the browser the
milliseconds to the first paint and to the end of loading, the median and the slowest frame of a zoom from the whole
recording to single timesteps and back (from the key to the end of drawing), and requests outside the page.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from run_factory import make_run, write_predictions  # noqa: E402

from extract.records import Source  # noqa: E402
from extract.store.writer import StoreWriter  # noqa: E402
from sequence_models.report.page import write_report  # noqa: E402
from sequence_models.report.store import write_store_report  # noqa: E402

ZOOM = """async () => {
    const view = document.getElementById("view"), took = [];
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    if (!view) return took;
    view.scrollIntoView({ block: "center" });
    await frame(); await frame();
    for (const key of [...Array(18).fill("+"), ...Array(6).fill("ArrowRight"), ...Array(18).fill("-")]) {
        const began = performance.now();
        view.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await frame();
        took.push(performance.now() - began);
        await frame();
    }
    return took;
}"""
LOADED = """() => [performance.getEntriesByType("paint")[0].startTime,
    performance.getEntriesByType("navigation")[0].loadEventEnd]"""


def main() -> None:
    """Makes the reports in a temporary folder, opens each three times, prints."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    makers = {
        "a recording of 1,000,000 timesteps": lambda folder: recordings(folder, count=1, steps=1_000_000),
        "the same, a new label every 5 timesteps": lambda folder: recordings(folder, count=1, steps=1_000_000, bout=5),
        "20 recordings of 5 hours at 8 a second": lambda folder: recordings(folder, count=20, steps=144_000),
        "20,000 clips": clips,
        "a store of 20,000 clips": store,
    }
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for number, (name, make) in enumerate(makers.items()):
            began = time.perf_counter()
            page = make(Path(scratch) / str(number))
            seconds = time.perf_counter() - began
            print(f"{name}: {page.stat().st_size / 1e6:.1f} MB, made in {seconds:.0f} s")
            for _ in range(3):
                print(f"  {measured(browser, page.as_uri())}", flush=True)
        browser.close()


def measured(browser: Browser, address: str) -> str:
    """What one opening of a page took, in a sentence."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.goto(address)
    paint, loaded = page.evaluate(LOADED)
    frames = page.evaluate(ZOOM)
    page.close()
    outside = [url for url in outside if url != address and not url.startswith("data:")]
    zoom = f", zoom {statistics.median(frames):.0f} ms a frame, slowest {max(frames):.0f} ms" if frames else ""
    return f"first paint {paint:.0f} ms, loaded {loaded:.0f} ms{zoom}; {len(outside)} requests outside"


def recordings(folder: Path, *, count: int, steps: int, bout: int = 60, classes: int = 6) -> Path:
    """The report of per-frame predictions, wrong in a tenth of the time, with bouts of `bout` timesteps on average."""
    rng = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(classes))
    run = make_run(folder, task="many-to-many", vocabulary=names, folds=1, groups=1, num_clips=1)
    truths, said = [], []
    for _ in range(count):
        lengths = rng.geometric(1 / bout, 2 * steps // bout + 10)
        truth = np.repeat(rng.integers(0, classes, len(lengths)), lengths)[:steps]
        wrong = np.repeat(rng.random(steps // 200 + 1) < 0.1, 200)[:steps]
        predicted = np.where(wrong, (truth + 1) % classes, np.roll(truth, 7))
        rows = np.full((steps, classes), 0.1 / (classes - 1), np.float32)
        rows[np.arange(steps), predicted] = 0.9
        truths.append(truth)
        said.append(rows * rng.uniform(0.5, 1, (steps, 1)).astype(np.float32))
    write_predictions(run, [f"recording {k}.mp4" for k in range(count)], truths, said)
    return write_report(run)


def clips(folder: Path) -> Path:
    """The report of one label for each of 20,000 clips."""
    return write_report(make_run(folder, num_clips=20_000, groups=200))


def store(folder: Path) -> Path:
    """The report of a store of 20,000 clips in 40 folders, without their videos."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, {"backbone": "tiny", "sampling": "fps=8"}, engine="keras", dtype="float32") as writer:
        for k in range(20_000):
            rows = rng.normal(k % 40, 1, (8, 16)).astype(np.float32)
            name = f"folder {k % 40}/{k:05d}.mp4"
            writer.append(name, rows, np.arange(8), np.arange(8) / 8, Source(f"/nowhere/{name}", 1, 1))
            writer.finish(name, None)
    return write_store_report(folder)


if __name__ == "__main__":
    main()
