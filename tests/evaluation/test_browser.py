"""The page in a real browser: no errors, no requests, tables sort, crashes play."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest

from drive_rl.evaluation import evaluate

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Faster:
    """Always FASTER."""

    name = "<script>alert(1)</script>"

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 3)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    evaluation = evaluate(
        Faster(),
        "highway-fast-v0",
        episodes=5,
        engine="reference",
        config={"duration": 8, "vehicles_count": 12},
    )
    folder = evaluation.write(tmp_path_factory.mktemp("report"), videos=2)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, report):
    """The report in a page that notes all that it says and asks for."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.noise = []
    page.on("console", lambda message: page.noise.append(message.text))
    page.on("pageerror", lambda error: page.noise.append(str(error)))
    page.on("dialog", lambda dialog: page.noise.append(dialog.message))
    page.on("request", lambda request: page.noise.append(request.url))
    page.goto(report)
    yield page
    page.close()


@pytest.fixture
def page(opened, report):
    """The page on a screen in daylight; it has said and fetched nothing, before and after."""
    opened.set_viewport_size({"width": 1200, "height": 900})
    opened.emulate_media(media="screen", color_scheme="light")
    yield opened
    assert opened.noise == [report]


def first_column(page):
    return page.locator("table.sortable").first.locator("tbody th").all_inner_texts()


def test_plots_are_drawn_and_nothing_is_fetched(page):
    places = page.locator("[data-plot]").count()
    assert places >= 5
    drawn = "n => document.querySelectorAll('[data-plot] > .plot-container').length === n"
    page.wait_for_function(drawn, arg=places)
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>"


def test_tables_sort_by_number_and_back(page):
    table = page.locator("table.sortable").first
    speed = table.get_by_role("button", name="speed")
    speed.click()
    values = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => Number(row.cells[4].dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    speed.click()
    assert table.locator("thead th").nth(4).get_attribute("aria-sort") == "ascending"
    table.get_by_role("button", name="policy").click()
    assert first_column(page) == sorted(first_column(page))


def test_a_crash_plays_back_to_its_beginning(page):
    card = page.locator(".card").first

    def place():
        return re.findall(r"[-0-9.]+", card.locator(".vehicle.ego").get_attribute("transform"))

    at_crash = [float(number) for number in place()]
    card.locator("input").fill("0")
    assert [float(number) for number in place()] != at_crash
    assert card.locator("output").inner_text().startswith("−")
    card.locator("button").click()
    page.wait_for_function("() => document.querySelector('.card output').textContent === 'crash'")
    assert [float(number) for number in place()] == at_crash


PLAY = """async number => {
  const video = document.querySelectorAll("video")[number];
  await video.play();
  await new Promise(done => setTimeout(done, 700));
  return [video.currentTime, video.duration, video.videoWidth, video.error && video.error.message];
}"""


def test_videos_play_and_nothing_but_their_files_is_fetched(page, report):
    videos = page.locator("video")
    assert videos.count() == 2
    assert page.noise == [report], "a video is fetched before somebody plays it"
    files = []
    for number in range(2):
        now, duration, width, error = page.evaluate(PLAY, number)
        assert error is None
        assert now > 0.2
        assert duration > 1.5
        assert width == 640
        files.append(report.rpartition("/")[0] + "/" + videos.nth(number).get_attribute("src"))
    assert page.noise == [report, *files]
    assert "/videos/" in files[0]
    page.noise[:] = [report]


def test_a_page_sent_without_its_videos_says_so(browser, report, tmp_path):
    alone = tmp_path / "alone.html"
    alone.write_text(Path(url2pathname(urlsplit(report).path)).read_text())
    page = browser.new_page()
    page.goto(alone.as_uri())
    page.evaluate("() => document.querySelector('video').play().catch(() => null)")
    page.wait_for_function(
        "() => document.querySelector('.video-link').textContent.startsWith('The page was sent')"
    )
    page.close()


@pytest.mark.parametrize("width", [360, 390, 768])
def test_no_part_of_the_page_is_wider_than_a_phone(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")


def test_dark_is_dark_and_paper_is_white(page):
    background = "() => getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == "rgb(19, 23, 27)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
