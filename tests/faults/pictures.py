"""Draws the recorded faults with Grafana's own components in a browser.

    .venv/bin/python -m tests.faults.pictures --seen DIRECTORY --out DIRECTORY

Takes what `python -m tests.faults` wrote down, and makes a picture of each: `DIRECTORY/NAME.png`. Needs node, npm and
chromium; what it gets from npm stays in `.tools`.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.faults.fault import MINUTE
from tests.support.prometheus import DASHBOARDS

HERE: Final = Path(__file__).parent
BUILD: Final = HERE.parents[1] / ".tools/pictures"
WIDTH: Final = 1200
UNIT: Final = 38
"""Pixels of height that Grafana gives a row of its grid."""
GAP: Final = 8
SECOND_PAGE: Final = 20 * UNIT
HEIGHT: Final = 6 * UNIT
WEIGHTS: Final = {"stat": 1, "timeseries": 2}
BROWSER: Final = "chromium"
PAGE: Final = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="draw.css">
<body style="margin: 0"><div id="root"></div>
<script>window.PICTURE = {picture}</script><script src="draw.js"></script>
"""


def prepare() -> None:
    """Put what draws together."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "draw.tsx"):
        shutil.copy(HERE / name, BUILD)
    install = ("npm", "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund")
    subprocess.run((*install, f"--cache={BUILD.parent / 'cache' / 'npm'}"), cwd=BUILD, check=True, timeout=600)
    loaders = (f"--loader:.{kind}=dataurl" for kind in ("svg", "ttf", "woff", "woff2"))
    bundle = ("node_modules/.bin/esbuild", "draw.tsx", "--bundle", "--jsx=automatic", "--log-level=error", *loaders)
    production = '--define:process.env.NODE_ENV="production"'
    subprocess.run((*bundle, production, "--outfile=draw.js"), cwd=BUILD, check=True, timeout=120)


def panels(name: str) -> dict[str, dict[str, Any]]:
    """Give a dashboard's panels by title."""
    return {panel["title"]: panel for panel in DASHBOARDS[name]["panels"]}


def strip(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """Arrange the panels of a fault side by side; those with one value have half the width."""
    known = panels("omni-relay-broker") | panels("omni-relay")
    share = WIDTH / sum(WEIGHTS[known[title]["type"]] for title in seen["panels"])
    placed: list[dict[str, Any]] = []
    for title, series in seen["panels"].items():
        left = placed[-1]["x"] + placed[-1]["width"] + GAP if placed else 0
        width = WEIGHTS[known[title]["type"]] * share - GAP
        placed.append({"panel": known[title], "series": series, "x": left, "y": 0, "width": width, "height": HEIGHT})
    return placed


def whole(seen: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Put all panels of a dashboard where Grafana puts them."""
    column = WIDTH / 24
    return [
        {
            "panel": panel,
            "series": seen["panels"][title],
            "x": place["x"] * column,
            "y": place["y"] * UNIT,
            "width": place["w"] * column - GAP,
            "height": place["h"] * UNIT - GAP,
        }
        for title, panel in panels(name).items()
        for place in (panel["gridPos"],)
    ]


def draw(seen: dict[str, Any], placed: list[dict[str, Any]], picture: Path) -> None:
    """Have the browser take a picture of a page. Raises `RuntimeError` when the page fails."""
    height = int(max(one["y"] + one["height"] for one in placed))
    described = {"panels": placed, **{name: seen[name] for name in ("from", "to", "faults")}}
    began, mended = seen["faults"][-1]
    described["alerts"] = [(began + minutes * MINUTE, name) for name, minutes in seen.get("alerts", {}).items()]
    described["at"] = mended - 1 if "alerts" in seen else seen["to"]
    text = json.dumps(described).replace("<", "\\u003c")
    (BUILD / "page.html").write_text(PAGE.format(picture=text))
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000")
    quiet = ("--enable-logging=stderr", "--log-level=0")
    size = f"--window-size={WIDTH},{height}"
    page = (BUILD / "page.html").as_uri()
    command = (BROWSER, *options, *quiet, size, f"--screenshot={picture.absolute()}", page)
    log = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stderr
    if "Uncaught" in log:  # the picture is blank, and the browser content
        raise RuntimeError(log[log.index("Uncaught") :].partition("\n")[0])


def main(source: Path, out: Path) -> None:
    """Draw all."""
    prepare()
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.json")):
        seen = json.loads(path.read_text())
        if path.stem == "dashboard":
            for name in DASHBOARDS:
                draw(seen, whole(seen, name), out / f"{name}.png")
            draw(seen, [one for one in whole(seen, "omni-relay") if one["y"] < SECOND_PAGE], out / "first-page.png")
        else:
            draw(seen, strip(seen), out / f"{path.stem}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seen", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    main(given.seen, given.out)
