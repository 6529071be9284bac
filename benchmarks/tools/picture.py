"""Draw README's picture of a report: the page that `embedx compare` wrote, as a stranger first sees it.

    python -m benchmarks.tools.picture results/            # writes benchmarks/results/report.png

Needs chromium and chromedriver (apt-get install chromium chromium-driver) and selenium, which the development
environment has. Shown are the verdict, the table, the first figures, the map with one clip chosen and the first clips
to listen to; the rest of the page is left out of the picture, nothing in it is changed.
"""

import argparse
import base64
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools.record import results_folder

WIDTH = 1180
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
    "--disable-dev-shm-usage --hide-scrollbars"
)

LEFT_OUT = (
    "#tests, #data-card, [aria-labelledby=h-facts], .grid.two:has(#reliability), .clips li:nth-child(n+3), .more "
    "{display: none !important}"
)
ARRANGE = """
document.head.append(Object.assign(document.createElement("style"), {textContent: arguments[0]}));
if (D.map.length && D.mislabelled.length) select(D.mislabelled[0].clip);
return Math.ceil(document.querySelector("footer").getBoundingClientRect().bottom + scrollY);
"""


def main() -> None:
    """Open the page and take its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder that `embedx compare` wrote")
    parser.add_argument("-o", "--output", type=Path, help="PNG (default: report.png beside the other results)")
    args = parser.parse_args()
    page = args.results / "report.html"
    if not page.is_file():
        raise SystemExit(f"{page} is not there: run embedx compare STORE -o {args.results} first")
    place = args.output or results_folder() / "report.png"
    place.write_bytes(take_picture(page))
    print(f"wrote {place}, {place.stat().st_size / 1e3:.0f} kB")


def take_picture(page: Path, *, width: int = WIDTH, theme: str = "light") -> bytes:
    """Return a PNG of a report.

    Parameters
    ----------
    page : Path
        ``report.html``.
    width : int
        Pixels.
    theme : {'light', 'dark'}
        Which of its two looks.
    """
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            media = [{"name": "prefers-color-scheme", "value": theme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            browser.get(page.resolve().as_uri())
            height = browser.execute_script(ARRANGE, LEFT_OUT)
            return shoot(browser, width, height)
        finally:
            browser.quit()


def shoot(browser: Any, width: int, height: int) -> bytes:
    """Return the upper left of a page as PNG."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(shot["data"])


def open_browser(profile: str) -> Any:
    """Start a headless Chromium, or say what is missing."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise SystemExit("chromium and chromedriver are not there: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(driver))


if __name__ == "__main__":
    main()
