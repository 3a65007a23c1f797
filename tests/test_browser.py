"""The report in a real browser: the system's Chromium, headless."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_core.reports import report
from kdst_core.reports.blocks import ReportContent, Stat
from tests.test_report import RESULT

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a short run with every kind of figure."""
    out = tmp_path_factory.mktemp("report") / "run"
    return kdst_core.run("tea", out=out, images=100, sgld_steps=2, buffer_size=100).report


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """A headless Chromium that logs its console and its requests."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("no chromium and chromedriver on the path")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    yield browser
    browser.quit()


def open_page(driver: Any, page: Path, width: int, theme: str) -> None:
    """Open a page at a width, in light or dark."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(page.as_uri())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_cleanly(driver: Any, page: Path, width: int, theme: str) -> None:
    open_page(driver, page, width, theme)
    assert [e for e in driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    messages = (json.loads(e["message"])["message"] for e in driver.get_log("performance"))
    requests = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    fetched = [u for u in requests if not u.startswith("data:") and u != page.as_uri()]
    assert fetched == []
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    assert driver.execute_script(overflow) <= 0
    sizes = driver.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert sizes
    assert min(sizes) > 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_text_of_charts_is_legible(driver: Any, page: Path, width: int) -> None:
    open_page(driver, page, width, "light")
    heights = driver.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => {"
        "const s = t.ownerSVGElement, k = s.getBoundingClientRect().width / s.viewBox.baseVal.width;"
        "return parseFloat(getComputedStyle(t).fontSize) * k})"
    )
    assert len(heights) > 40
    assert min(heights) >= 7.5


def test_colours_follow_the_theme(driver: Any, page: Path) -> None:
    seen = []
    for theme in ("light", "dark"):
        open_page(driver, page, 1280, theme)
        script = "return [getComputedStyle(document.body).backgroundColor,"
        script += "getComputedStyle(document.querySelector('svg text')).fill]"
        seen.append(driver.execute_script(script))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_word_stays_within_its_card(driver: Any, tmp_path: Path, width: int) -> None:
    name = "tea:profile=published"
    stats = [Stat("most accurate", name, name, strong=True), Stat("cheapest", name, "of two")]
    html = report.page(RESULT, ReportContent(name * 4, stats, ()), "kdst compare", "Comparison")
    (tmp_path / "report.html").write_text(html)
    open_page(driver, tmp_path / "report.html", width, "light")
    script = "return [...document.querySelectorAll('.lead, .stat b')].map(e =>"
    script += "e.scrollWidth - e.clientWidth)"
    assert max(driver.execute_script(script)) <= 0
