"""Draw the picture of a labelling session: fifty clips labelled on the page by keys, each by its true label.

    python -m benchmarks.labelling.picture DATA/esc10/clips.csv -o docs/how-to/label.png

Embeds the clips without their labels, starts `embedx label`, presses the keys in a headless Chromium and takes the
picture of what the page then shows. Needs what `benchmarks.tools.picture` needs, and pillow.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools.picture import WIDTH, open_browser, shoot
from embedx import extract_embeddings, load_embeddings, read_manifest

KEYS = "1234567890"
LEARNED = (
    "const d = document.documentElement.dataset; return d.learned === 'true' && d.labels === arguments[0] && !isBusy"
)
DRAWN = "return !$('picture').hidden && $('picture').dataset.drawn"


def main() -> None:
    """Label and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", help="CSV of clips with labels, ten classes at most")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--group-column")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "clips.h5"
        manifest = read_manifest(args.clips, label_column="", group_column=args.group_column)
        extract_embeddings(manifest, store, encoder="tiny")
        labels = {Path(source.uri).name: source.label for source in read_manifest(args.clips)}
        truth = [str(labels[Path(source.uri).name]) for source in load_embeddings(store).sources]
        args.output.write_bytes(_labelled(store, truth, args.labels, Path(folder)))
    print(f"wrote {args.output}, {args.output.stat().st_size / 1e3:.0f} kB")


def _labelled(store: Path, truth: list[str], n_labels: int, folder: Path) -> bytes:
    classes = sorted(set(truth))
    words = [sys.executable, "-m", "embedx", "label", store.name, "-o", "labels.csv", "--port", "0"]
    words += ["--classes", ",".join(classes)]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.search(r"http://\S+", process.stdout.readline())
    browser = open_browser(str(folder / "profile"))
    try:
        assert address is not None
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": WIDTH, "height": 1200, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get(address[0])
        _wait(browser, LEARNED, "0")
        n = 0
        while n < n_labels:
            clip = int(browser.execute_script("return asked.clip"))
            is_new = browser.execute_script("return asked.label === null")
            browser.find_element("tag name", "body").send_keys(KEYS[classes.index(truth[clip])])
            n += is_new
            _wait(browser, LEARNED, str(n))
        while browser.execute_script("return asked.guesses === null"):
            browser.find_element("tag name", "body").send_keys("s")
            _wait(browser, "return !isBusy && asked.clip !== arguments[0]", None)
            _wait(browser, LEARNED, str(n))
        _wait(browser, DRAWN)
        height = browser.execute_script("return Math.ceil($('main').getBoundingClientRect().bottom + scrollY)")
        return _smaller(shoot(browser, WIDTH, height))
    finally:
        browser.quit()
        process.terminate()
        process.communicate()


def _wait(browser: Any, condition: str, *given: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 120, poll_frequency=0.05).until(lambda one: one.execute_script(condition, *given))


def _smaller(picture: bytes) -> bytes:
    """Keep 256 colours."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
