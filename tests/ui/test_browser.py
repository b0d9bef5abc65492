"""The site in a browser: keyboard, both palettes, both widths, live pages, hostile texts.

`PICTURES_OF_UI=docs/pictures` in the environment makes the pictures of the docs anew.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.deployment import Deployment, mixed_run, parsed_pairs
from tests.conftest import missing
from tests.ui.conftest import STEPS, hostile_pair
from tests.ui.hostile import TEXTS
from tests.ui.sites import SiteProcess, metrics_line

pytestmark = pytest.mark.long

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip
WIDE, NARROW, HEIGHT = 1280, 400, 860
WAIT_SECONDS = 60
PICTURES = os.environ.get("PICTURES_OF_UI")
PICTURE_MAX_BYTES = 150_000

SHOWN = {
    "stream": "/",
    "yield": "/yield",
    "runs": "/runs",
    "run": "/run?id=m-1",
    "pairs": "/pairs",
    "pair": "",
    "datasets": "/datasets",
    "dataset": "/datasets/ds-000001",
    "difference": "/datasets/difference?a=ds-000001&b=ds-000002",
    "trainings": "/trainings",
    "training": "/trainings/dpo-ds-000003",
    "models": "/models",
    "model": "/models/dpo-ds-000002",
    "promote": "/models/dpo-ds-000002/promote",
}
LISTS = ("runs", "pairs")
NARROW_PICTURES, DARK_PICTURES = ("stream", "pair"), ("pair", "training")


class Browser:
    """Chromium, and what the tests ask it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def size(self, width: int, height: int = HEIGHT) -> None:
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self._command("Emulation.setEmulatedMedia", {"features": features})

    def _command(self, name: str, values: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(name, values)

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.complaints()

    def complaints(self) -> None:
        """A refused script or style, or a slip in ours, is told in the console."""
        told = [entry["message"] for entry in self.driver.get_log("browser")]
        assert [line for line in told if "favicon" not in line] == []

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, key: str) -> None:
        self.driver.switch_to.active_element.send_keys(key)

    def wait(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: self.ask(script))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Needs Debian's chromium and chromium-driver, and selenium of the group `dev`."""
    driver_path = shutil.which("chromedriver")
    if driver_path is None or shutil.which("chromium") is None:
        missing("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(driver_path)
    driver = webdriver.Chrome(options=options, service=service)
    driver.implicitly_wait(WAIT_SECONDS)  # a click does not wait for the page that it leads to
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.size(WIDE)
    chromium.scheme("light")
    chromium.driver.get_log("browser")  # what another test left is not this one's
    return chromium


def address(live: SiteProcess, deployment: Deployment, name: str) -> str:
    if name != "pair":
        return live.url + SHOWN[name]
    found = next(each for each in parsed_pairs(deployment) if each.run_id == "m-1")
    return f"{live.url}/pair?id={found.pair_id}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_page_fits_into_wide_and_narrow_windows(
    live: SiteProcess, live_deployment: Deployment, browser: Browser, width: int, scheme: str
) -> None:
    browser.size(width)
    browser.scheme(scheme)
    live.wait_for("/run?id=m-1", lambda text: "run.started" in text)

    for name in SHOWN:
        browser.open(address(live, live_deployment, name))

        assert browser.ask("document.documentElement.scrollWidth") <= width, name
        ground = browser.ask("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        if PICTURES and (width, scheme) != (NARROW, "dark"):
            _picture(browser, Path(PICTURES), name, width, scheme)


def _picture(browser: Browser, folder: Path, name: str, width: int, scheme: str) -> None:
    if (width == NARROW and name not in NARROW_PICTURES) or (
        scheme == "dark" and name not in DARK_PICTURES
    ):
        return
    suffix = "-narrow" if width == NARROW else "-dark" if scheme == "dark" else ""
    most = 760 if name in LISTS else 1100
    height = min(browser.ask("document.documentElement.scrollHeight"), most)
    browser.size(width, height)
    path = folder / f"{name}{suffix}.png"
    browser.driver.save_screenshot(str(path))
    browser.size(width)
    assert path.stat().st_size < PICTURE_MAX_BYTES


def test_a_keyboard_is_enough(live: SiteProcess, browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(live.url + "/yield")
    browser.press(Keys.TAB)

    assert browser.ask("document.activeElement.className") == "skip"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press(Keys.ENTER)
    assert browser.ask("document.activeElement.id") == "main"
    browser.press(Keys.TAB)
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.ask("document.querySelector('main').contains(document.activeElement)")


def test_every_field_has_a_name_and_every_picture_words(
    live: SiteProcess, live_deployment: Deployment, browser: Browser
) -> None:
    for name in SHOWN:
        browser.open(address(live, live_deployment, name))
        nameless = """[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
            .filter((each) => !each.labels.length).map((each) => each.outerHTML)"""
        assert browser.ask(nameless) == [], name
        wordless = """document.querySelectorAll(
            'svg:not([aria-label]):not([aria-hidden=true])').length"""
        assert browser.ask(wordless) == 0, name
        assert browser.ask("document.querySelectorAll('h1').length") == 1, name
        assert browser.ask("document.documentElement.lang") == "en"


def test_stream_follows_without_a_reload(
    live: SiteProcess, live_deployment: Deployment, browser: Browser
) -> None:
    browser.open(live.url + "/")
    before = "document.querySelector('.tiles').textContent"
    browser.driver.execute_script(f"window.seen = {before}; window.stays = 1")

    live_deployment.say(*mixed_run("seen-in-the-browser"))
    live_deployment.settle()

    browser.wait(f"window.seen != {before}")
    assert browser.ask("window.stays") == 1
    browser.complaints()


def test_curves_of_a_training_grow_as_it_goes(
    live: SiteProcess, live_deployment: Deployment, browser: Browser
) -> None:
    browser.open(live.url + "/trainings/dpo-ds-000003")
    assert f"step {STEPS} of 60" in browser.find("main").text
    browser.find("#summary-1").click()
    metrics = live_deployment.data.models / "dpo-ds-000003" / "metrics.jsonl"
    whole = metrics.read_bytes()
    with metrics.open("a") as file:
        file.write(metrics_line(57, 60, loss=0.125))

    browser.wait("document.querySelector('main').textContent.includes('step 57 of 60')")

    assert browser.ask("document.querySelector('#figures-1').open")
    assert "0.125" in browser.find("#figures-1").text
    assert browser.ask("document.activeElement.id") == "summary-1"
    metrics.write_bytes(whole)


def test_a_site_that_ended_is_told(
    live_deployment: Deployment, browser: Browser, tmp_path: Path
) -> None:
    env = {**live_deployment.env, "PAIRSTREAM_DATA_DIR": str(tmp_path / "data")}
    with SiteProcess(env, home=tmp_path / "site") as site:
        browser.open(site.url + "/")
    browser.wait("document.getElementById('told').textContent.includes('does not answer')")
    browser.driver.get_log("browser")


def test_a_promotion_is_asked_for_confirmed_and_told(live: SiteProcess, browser: Browser) -> None:
    browser.open(live.url + "/models")
    browser.driver.find_element("link text", "dpo-ds-000002").click()
    browser.driver.find_element("link text", "Promote…").click()
    browser.find("#why").send_keys("the agents like it")
    browser.find("form[method=post] button").click()
    assert "tick that you want it" in browser.find("[role=alert]").text
    browser.driver.get_log("browser")  # tells of the status 409
    browser.find("[name=refused]").click()
    browser.find("form[method=post] button").click()

    browser.wait("location.pathname == '/models'")
    assert "dpo-ds-000002 is the latest now." in browser.find("[role=status].box").text
    browser.driver.find_element("partial link text", "Roll back to dpo-ds-000001").click()
    browser.find("form[method=post] button").click()
    browser.wait("location.pathname == '/models'")
    assert "dpo-ds-000001 is the latest now." in browser.find("[role=status].box").text
    browser.complaints()


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_texts_do_nothing_in_a_browser(
    files: SiteProcess, browser: Browser, name: str
) -> None:
    pair = hostile_pair(name, TEXTS[name])
    for page in (f"/pair?id={pair.pair_id}", "/pairs", "/runs"):
        browser.open(files.url + page)

        assert browser.ask("document.title").endswith("pairstream")
        assert (
            browser.ask("document.querySelectorAll('main script, main img, main iframe').length")
            == 0
        )
        assert browser.ask("document.documentElement.scrollWidth") <= WIDE
