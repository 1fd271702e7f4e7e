"""Chromium, driven by its own driver: both are Debian packages of one version."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final, Literal

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS: Final = ("chromium", "chromedriver")
"""Programs that the tests find on the path; `deploy/test` looks for the same."""
WAIT: Final = 10.0


class Browser:
    """One window of a browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def look(self, width: int, height: int = 800, scheme: Literal["light", "dark"] = "light") -> None:
        """Set the size of the window and the colour scheme that the person prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)

    def open(self, url: str) -> None:
        """Load a page anew."""
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401  # JSON
        """Return the value of a script."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """Return the first element that matches."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of an element, as it is in the document."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that match, in the order of the document."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector))

    def click(self, selector: str) -> None:
        """Click an element when it is there."""
        self.wait("return document.querySelector(arguments[0])?.checkVisibility()", selector)
        self.find(selector).click()

    def wait(self, script: str, *arguments: object) -> Any:  # noqa: ANN401  # JSON
        """Wait until the value of a script is true; return it."""
        return WebDriverWait(self.driver, WAIT, 0.05).until(lambda _: self.run(script, *arguments), script)

    def complaints(self) -> list[str]:
        """Return the errors of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def is_installed() -> bool:
    """Whether there is a browser with its driver."""
    return all(shutil.which(program) for program in PROGRAMS)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser without a window."""
    program, driver_program = map(shutil.which, PROGRAMS)
    options = ChromeOptions()
    options.binary_location = program or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # /dev/shm is small in containers, and Chromium's own sandbox does not run as root.
    sandboxed = () if os.geteuid() else ("--no-sandbox",)
    for each in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-GB", *sandboxed):
        options.add_argument(each)
    driver = Chrome(options, Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
