"""Makes the picture of the sandbox's page in the README.

.venv/bin/python -m tests.browser.screenshot
"""

from pathlib import Path

from tests.support.browser import Browser, browser

PICTURE = Path(__file__).parents[2] / "deploy" / "sandbox.png"


def take(window: Browser, url: str, path: Path) -> None:
    """Send the sample messages of an empty sandbox and draw the page."""
    window.look(1200, 740)
    window.open(url)
    window.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    window.run("document.querySelector('#samples').click()")  # no pointer that stays over a row
    window.wait("return document.querySelectorAll('#rows .delivered').length >= 6")
    window.run("document.querySelectorAll('#rows li button')[1].click()")
    window.wait("return document.querySelectorAll('#phone .part').length > 1")
    window.wait("return document.querySelector('[data-outcome=seen][aria-disabled=false]')")
    window.run("document.querySelector('[data-outcome=seen]').click()")
    window.wait("return document.querySelector('#timeline .seen') && document.querySelector('#rows .chip.seen')")
    window.run("document.activeElement.blur()")
    window.driver.save_screenshot(str(path))
    window.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})


if __name__ == "__main__":
    from tests.browser.conftest import running

    with running() as sandbox, browser() as window:
        take(window, sandbox.url, PICTURE)
