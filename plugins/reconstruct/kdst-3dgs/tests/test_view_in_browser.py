"""`kdst view`, its offline page and the report in a real browser, with WebGL in software."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kdst_core

pytestmark = pytest.mark.browser

PATIENCE = 240.0
"""Seconds that a page may take: without a GPU, on a machine that does other work."""
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--window-size=640,480",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the embedded capture: a red ball, a green box and others on a floor."""
    out = tmp_path_factory.mktemp("runs") / "small"
    kdst_core.run("3dgs", out=out, width=64, iterations=300, threads=1, flight_frames=24)
    return out


@pytest.fixture
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
    browser.set_page_load_timeout(PATIENCE)
    browser.set_script_timeout(PATIENCE)
    yield browser
    browser.quit()


def wait_for_the_scene(driver: Any) -> Any:
    """Wait until red and green solids are seen; return the last screenshot (H, W, 3)."""
    from selenium.common.exceptions import TimeoutException

    deadline = time.monotonic() + PATIENCE
    while True:
        time.sleep(2)
        try:
            png = driver.get_screenshot_as_png()
        except TimeoutException:
            assert time.monotonic() < deadline, "no screenshot can be taken"
            continue
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[80:, 40:-40]
        red, green = pixels[..., 0], pixels[..., 1]
        seen = [red > 1.6 * green, green > 1.25 * red]
        if all((shown & (pixels.max(-1) > 60)).mean() > 0.003 for shown in seen):
            return pixels
        assert time.monotonic() < deadline, "the solids are not seen"


def addresses(driver: Any) -> list[str]:
    """Everything that the page asked for, but what it holds itself."""
    messages = (json.loads(e["message"])["message"] for e in driver.get_log("performance"))
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in asked if not url.startswith(("data:", "blob:"))]


def test_the_offline_page_shows_the_scene_and_asks_for_nothing(
    driver: Any, run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "scene.html"
    words = ["view", str(run / "artifacts" / "scene.ply"), "--up", "z", "--export-html", str(page)]
    subprocess.run([sys.executable, "-m", "kdst_core", *words], check=True, timeout=PATIENCE)
    driver.get(page.as_uri())
    wait_for_the_scene(driver)
    assert addresses(driver) == [page.as_uri()]
    console = [entry["message"] for entry in driver.get_log("browser")]
    assert not [m for m in console if "worker" in m.lower()], console


def test_the_live_viewer_shows_the_scene_among_its_photographs(driver: Any, run: Path) -> None:
    words = ["view", str(run), "--no-open", "--port", "0"]
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "kdst_core", *words],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    )
    try:
        assert server.stdout is not None
        found = re.match(r"http://localhost:\d+/[\w-]+", server.stdout.readline())
        assert found is not None
        driver.get(found[0])
        wait_for_the_scene(driver)
        assert {url.rstrip("/") for url in addresses(driver)} == {found[0]}
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_shows_views_flight_and_curves(
    driver: Any, run: Path, width: int, theme: str
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page = (run / "report.html").as_uri()
    driver.get(page)
    decoded = "return document.querySelector('video').videoWidth"
    deadline = time.monotonic() + PATIENCE
    while not driver.execute_script(decoded) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert driver.execute_script(decoded) == 64
    assert min(driver.execute_script("return [...document.images].map(i => i.naturalWidth)")) > 0
    wide = "return document.documentElement.scrollWidth - window.innerWidth"
    assert driver.execute_script(wide) <= 0
    assert addresses(driver) == [page]
    titles = driver.execute_script(
        "return [...document.querySelectorAll('h2')].map(h => h.innerText)"
    )
    wanted = ["Held-out views", "Flight", "PSNR along the fit", "Gaussians along the fit"]
    assert [t for t in titles if t in wanted] == wanted
