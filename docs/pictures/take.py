"""Takes the pictures of README and docs again, from the output of `clipseq demo`.

    python docs/pictures/take.py data/demo

Needs playwright (the extra `test`) and a Chromium. Writes NAME-light.png and NAME-dark.png beside this file.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
WIDTH, COLOURS = 900, 128
# name -> report, what is in the picture, how many pixels of it at most, and what is done before
PICTURES = {
    "timeline": ("runs/segments/report.html", "#timeline .card", 428, "document.getElementById('next').click()"),
    "mistakes": ("runs/clips/report.html", "#mistakes .card", 446, ""),
    "map": ("features_clips/report.html", "#map .card", 572, ""),
}
SETTLED = "new Promise((done) => setTimeout(() => requestAnimationFrame(done), 400))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that clipseq demo filled")
    demo = parser.parse_args().demo.resolve()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for name, (report, chosen, most, before) in PICTURES.items():
                page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
                page.goto((demo / report).as_uri())
                page.evaluate(f"{before}; {SETTLED}" if before else SETTLED)
                write_small(HERE / f"{name}-{scheme}.png", page.locator(chosen).first.screenshot(), most)
                page.close()
        browser.close()


def write_small(path: Path, screenshot: bytes, most: int) -> None:
    """The upper part of a picture in few colours."""
    image = Image.open(io.BytesIO(screenshot)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, most)))
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
