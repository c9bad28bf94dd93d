"""The reports in a real browser: the timeline works from a file, nothing is asked of the network, and all fits a phone.

Skipped where there is no Chromium.
"""

import re
import shutil

import numpy as np
import pytest
from colours import contrast, linear
from page_scripts import COLOURS_OF_TEXT, NAMELESS, PICTURE
from run_factory import make_run, one_hot, write_predictions
from video_run import made_run

from sequence_models.report.against import write_difference
from sequence_models.report.page import write_report
from sequence_models.report.store import write_store_report

try:
    from playwright import sync_api
except ImportError:
    sync_api = None
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(sync_api is None, reason="needs playwright, which the extra `test` brings"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
]
EVIL = '"><img src=x onerror=alert(1)></script>'
STEPS = 4000


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Of two recordings with known disagreements: at timesteps 1000 to 1010 and 3000, and in the second at 5. Also of
    clips, of a recording with a video, of its store, and of two runs."""
    folder = tmp_path_factory.mktemp("reports")
    per_frame = make_run(folder / "frames", task="many-to-many", vocabulary=("hug", EVIL, "دفع"), folds=1, groups=1)
    first, second = np.zeros((2, STEPS), int)
    first[1000:1010] = first[3000] = second[5] = 1
    said = [one_hot(*first), one_hot(*second)]
    write_predictions(per_frame, [f"{EVIL}.mp4", "b.mp4"], [np.zeros(STEPS, int)] * 2, said)
    names = {"vocabulary": ("hug", EVIL, "دفع"), "name": "a long name/of_a_clip_" + 20 * "x" + "_{}.avi"}
    clips, others = make_run(folder / "clips", **names), make_run(folder / "others", noise=0.1, **names)
    filmed = made_run(folder / "filmed", task="many-to-many", name="دفع فيلم.mp4")
    return {
        "frames": write_report(per_frame).as_uri(),
        "clips": write_report(clips).as_uri(),
        "filmed": write_report(filmed).as_uri(),
        "against": write_difference(clips, others).as_uri(),
        "store": write_store_report(folder / "filmed" / "store").as_uri(),
    }


@pytest.fixture
def opened(browser, reports):
    """Opens a report; afterwards nothing may have been said on the console or asked of the network."""
    said, asked, contexts = [], [], []

    def open_page(kind, *, width=1400, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(reports[kind])
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert {url for url in asked if not url.startswith("data:")} <= set(reports.values())


def settle(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def view(page):
    settle(page)
    told = page.evaluate("({...document.getElementById('view').dataset})")
    return {name: float(value) if value else None for name, value in told.items()}


def test_the_timeline_starts_with_a_whole_recording(opened):
    told = view(opened("frames"))
    assert (told["from"], told["to"], told["chosen"]) == (0, STEPS * 0.125, 0)


def test_a_button_and_a_key_jump_from_one_disagreement_to_the_next(opened):
    page = opened("frames")
    page.click("#next")
    assert view(page)["cursor"] == 1000 * 0.125
    assert "truth hug, prediction" in page.text_content("#readout") and "✗" in page.text_content("#readout")
    page.focus("#view")
    page.keyboard.press("n")
    assert view(page)["cursor"] == 3000 * 0.125
    page.keyboard.press("n")
    assert (view(page)["chosen"], view(page)["cursor"]) == (1, 5 * 0.125)
    page.keyboard.press("p")
    assert (view(page)["chosen"], view(page)["cursor"]) == (0, 3000 * 0.125)


def test_keys_and_wheel_zoom_to_single_timesteps_and_back(opened):
    page = opened("frames")
    page.click("#next")
    page.focus("#view")
    for _ in range(12):
        page.keyboard.press("+")
    told = view(page)
    assert told["to"] - told["from"] == pytest.approx(4 * 0.125)
    assert told["from"] < 125 < told["to"]
    page.keyboard.press("0")
    assert view(page)["to"] == STEPS * 0.125
    page.hover("#view")
    page.mouse.wheel(0, -300)
    assert view(page)["to"] - view(page)["from"] < STEPS * 0.125 / 1.5


def test_dragging_moves_the_view_by_as_much(opened):
    page = opened("frames")
    page.click("#next")
    before = view(page)
    box = page.locator("#view").bounding_box()
    across = (box["width"] - 76) / 2
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 10 - across, box["y"] + 10)
    page.mouse.up()
    after = view(page)
    assert after["to"] - after["from"] == pytest.approx(before["to"] - before["from"])
    assert after["from"] - before["from"] == pytest.approx((before["to"] - before["from"]) / 2, rel=0.02)


def test_two_fingers_zoom_and_one_moves(opened):
    page = opened("frames", width=390, has_touch=True, is_mobile=True)
    page.evaluate("document.getElementById('view').scrollIntoView({block: 'center'})")
    box = page.locator("#view").bounding_box()
    fingers = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": box["x"] + x, "y": box["y"] + 30, "id": number} for number, x in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 190, 210)
    for step in range(1, 11):
        touch("touchMove", 190 - 8 * step, 210 + 8 * step)
    touch("touchEnd")
    zoomed = view(page)
    assert zoomed["to"] - zoomed["from"] == pytest.approx(STEPS * 0.125 / 9, rel=0.2)
    touch("touchStart", 200)
    for step in range(1, 6):
        touch("touchMove", 200 - 20 * step)
    touch("touchEnd")
    moved = view(page)
    assert moved["to"] - moved["from"] == pytest.approx(zoomed["to"] - zoomed["from"])
    assert moved["from"] > zoomed["from"]


def test_a_single_wrong_timestep_is_seen_in_the_whole_recording(opened):
    """One of 4,000 is narrower than a pixel."""
    page = opened("frames")
    colours = page.evaluate("""() => {
        const canvas = document.getElementById("view"), pen = canvas.getContext("2d");
        const row = pen.getImageData(0, 52, canvas.width, 1).data, found = new Set();
        for (let k = 76; k < canvas.width; k++) if (row[4 * k + 3]) found.add(k);
        return [...found].map((k) => Math.round((k - 76) / (canvas.width - 76) * 4000));
    }""")
    assert any(abs(step - 3000) < 8 for step in colours)
    assert any(abs(step - 1005) < 12 for step in colours)
    assert len(colours) < 12


def test_a_mistake_leads_to_its_place_in_the_timeline(opened):
    page = opened("frames")
    page.locator("a[data-recording]").first.click()
    assert view(page)["cursor"] == 1000 * 0.125


def test_the_bouts_in_view_stand_beside_it(opened):
    page = opened("frames")
    sync_api.expect(page.locator("#bouts p")).to_have_text("5 bouts in view", timeout=30_000)
    page.locator("#recordings button").nth(1).click()
    sync_api.expect(page.locator("#bouts p")).to_have_text("3 bouts in view", timeout=30_000)
    assert page.locator("#bouts tbody tr").nth(1).locator("td").nth(2).text_content() == EVIL


def shown_picture(page):
    settle(page)
    page.locator("#peek img").evaluate("(each) => each.decode()")
    return page.evaluate(PICTURE)


def test_the_frame_under_the_cursor_is_shown_below_it(opened):
    page = opened("filmed")
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#view").bounding_box()
    seen = []
    for share in (0.3, 0.6, 0.9):
        across = 76 + share * (box["width"] - 76)
        page.mouse.move(box["x"] + across, box["y"] + 10)
        shown = shown_picture(page)
        assert shown["tall"] > 20 and shown["below"]
        assert shown["middle"] == pytest.approx(across, abs=2) or shown["middle"] > shown["wide"] - 90
        at = float(re.search(r"frame at ([\d.]+) s", shown["words"])[1])
        assert at == pytest.approx(share * 3.6, abs=0.31)
        seen.append((at, shown["grey"]))
    # the video gets lighter with time: it is the frame that its caption says
    assert [grey for _, grey in seen] == pytest.approx([10 + 60 * at for at, _ in seen], abs=12)


def test_a_jump_shows_the_frame_of_the_disagreement(opened):
    page = opened("filmed")
    page.click("#next")
    shown = shown_picture(page)
    assert float(re.search(r"frame at ([\d.]+) s", shown["words"])[1]) == pytest.approx(1.2, abs=0.31)


def test_without_pictures_no_room_is_left_for_them(opened):
    assert not opened("frames").locator("#peek").is_visible()


@pytest.mark.parametrize("kind", ["frames", "clips", "filmed", "against", "store"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_and_a_phone_never_scrolls_sideways(opened, kind, scheme):
    page = opened(kind, width=390, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    pale = []
    for text, colours, size in page.evaluate(COLOURS_OF_TEXT):
        ink, ground = (linear("#{:02x}{:02x}{:02x}".format(*colour)) for colour in colours)
        if contrast(ink, ground) < (3 if size >= 24 else 4.5):
            pale.append((text, colours))
    assert not pale


@pytest.mark.parametrize("kind", ["frames", "clips", "filmed", "against", "store"])
def test_nothing_runs_over_the_edge_of_a_printed_page(opened, kind):
    page = opened(kind, width=718)  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718


@pytest.mark.parametrize("kind", ["frames", "clips", "filmed", "against", "store"])
def test_everything_that_can_be_used_has_a_name(opened, kind):
    page = opened(kind)
    nameless = page.evaluate(NAMELESS)
    assert nameless == []


def test_a_hostile_name_is_text_and_reads_from_right_to_left(opened):
    page = opened("frames")
    assert EVIL in page.text_content("#legend")
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    page = opened("filmed")
    assert page.text_content("#chosen") == "دفع فيلم.mp4"
    assert page.evaluate("getComputedStyle(document.getElementById('chosen')).unicodeBidi") == "isolate"
