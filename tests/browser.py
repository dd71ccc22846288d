"""A real headless Chromium for the pages that the project writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """A Chromium that sees local files only, and pages of this computer.

    Attributes:
        driver: selenium's.
        profile: the folder of what it keeps.
        downloads: the folder of what pages save.
    """

    def __init__(self, profile: Path, downloads: Path):
        options = Options()
        options.binary_location = _chromium()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_experimental_option(
            "prefs", {"download.default_directory": str(downloads), "download.prompt_for_download": False}
        )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.profile, self.downloads = profile, downloads

    def open(self, page: Path | str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file or an address as a phone or a desktop would show it; what was logged before is
        forgotten."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page if isinstance(page, str) else page.resolve().as_uri())

    def script(self, code: str) -> object:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {code}")

    def errors(self) -> list[str]:
        """What the page complained about on the console since it was opened."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def requests(self) -> list[str]:
        """The addresses that were fetched since the page was opened, without the page itself and what lies in
        it."""
        asked = [
            entry["message"]
            for entry in self.driver.get_log("performance")
            if '"Network.requestWillBeSent"' in entry["message"]
        ]
        return [
            message
            for message in asked
            if not any(f'"url":"{scheme}:' in message for scheme in ("file", "data", "blob"))
        ]

    def overflow(self) -> int:
        """Pixels that the page is wider than the window; 0 without a horizontal scroll bar."""
        return self.script(
            "Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)"
        )

    def background(self) -> tuple[int, ...]:
        """The colour of the page as (red, green, blue)."""
        colour = self.script("getComputedStyle(document.body).backgroundColor")
        return tuple(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")[:3]))

    def broken_images(self) -> int:
        """How many images of the page have not loaded."""
        return self.script(
            "[...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length"
        )


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A :class:`Browser` for all tests of a session."""
    if not _chromium() or not shutil.which("chromedriver"):
        message = (
            "these tests drive a real browser: install Chromium and its driver "
            "(apt-get install chromium chromium-driver)"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    browser = Browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.driver.quit()
