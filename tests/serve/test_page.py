"""The page in a real browser, with a microphone that plays a file."""

import numpy as np
import pytest

from embedx.audio.decode import decode
from embedx.testing import write_wav
from tests.chromium import chromium
from tests.serve.conftest import served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def sound(tones, tmp_path_factory):
    """The class that the microphone hears, and the file that it plays over and over."""
    label, paths = next(iter(tones.items()))
    path = tmp_path_factory.mktemp("microphone") / "sound.wav"
    write_wav(path, np.tile(decode(paths[0]), 10))
    return label, path


@pytest.fixture(scope="module")
def browser(sound, tmp_path_factory):
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    microphone = f"--use-file-for-fake-audio-capture={sound[1]}"
    with chromium(tmp_path_factory.mktemp("profile"), *flags, microphone) as driver:
        yield driver


def until(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 120).until(lambda driver: driver.execute_script(f"return {condition}"))


@pytest.fixture
def page(browser, server):
    browser.get(f"http://{server.host}:{server.port}/")
    until(browser, "document.documentElement.dataset.ready === 'yes'")
    return browser


def text(browser, name):
    return browser.execute_script("return document.getElementById(arguments[0]).textContent", name)


def give(browser, path):
    from selenium.webdriver.common.by import By

    browser.find_element(By.ID, "file").send_keys(str(path))


def test_a_file_is_labelled_drawn_and_played(page, tones):
    for label, paths in tones.items():
        give(page, paths[1])
        until(page, f"document.getElementById('status').textContent.startsWith('{paths[1].name}: ')")
        assert text(page, "label") == label
        assert page.execute_script("return document.querySelectorAll('#bars li').length") == len(tones)
        assert until(page, "document.getElementById('picture').dataset.drawn") == "yes"
        assert page.execute_script("return document.querySelector('#sound audio').src").startswith("blob:")


def test_a_longer_recording_has_a_time_line_and_neighbours_to_listen_to(page, tones, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    parts = [np.resize(decode(paths[0]), 48_000) for paths in tones.values()]
    write_wav(tmp_path / "all.wav", np.concatenate(parts))
    give(page, tmp_path / "all.wav")
    until(page, "document.querySelectorAll('#timeline svg rect').length > 1")
    listed = page.execute_script("return [...document.querySelectorAll('#timeline li b')].map(b => b.textContent)")
    assert set(listed) <= set(tones)
    until(page, "!document.getElementById('near-card').hidden")
    page.find_element(By.CSS_SELECTOR, "#near button").send_keys(Keys.ENTER)
    until(page, "document.querySelector('#near audio')")


def test_the_microphone_is_heard(page, sound):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page.find_element(By.TAG_NAME, "body").send_keys("r")
    until(page, "/Recording: [2-9]/.test(document.getElementById('status').textContent)")
    page.find_element(By.ID, "record").send_keys(Keys.ENTER)
    until(page, "/^the recording: [0-9]/.test(document.getElementById('status').textContent)")
    assert text(page, "label") == sound[0]
    assert text(page, "record") == "Record"


def test_what_is_no_recording_is_said_on_the_page(page, tmp_path):
    (tmp_path / "<b>no.wav").write_bytes(b"no audio at all")
    give(page, tmp_path / "<b>no.wav")
    until(page, "document.getElementById('status').classList.contains('wrong')")
    assert text(page, "status").startswith("<b>no.wav: ")
    assert page.execute_script("return document.getElementById('result').hidden")


def test_the_page_asks_nobody_else_and_nothing_fails_on_it(page, server):
    import json

    give(page, __file__)
    until(page, "document.getElementById('status').classList.contains('wrong')")
    told = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"}
    own = f"http://{server.host}:{server.port}/"
    assert {url for url in asked if not url.startswith((own, "blob:", "data:", "chrome"))} == set()
    bad = [entry for entry in page.get_log("browser") if "422" not in entry["message"]]
    assert bad == []


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(page, tones, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    give(page, next(iter(tones.values()))[2])
    until(page, "!document.getElementById('result').hidden")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    heights = page.execute_script(
        "return [...document.querySelectorAll('.act')].filter(b => b.offsetParent).map(b => b.offsetHeight)"
    )
    assert min(heights) >= 44
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_token_is_asked_for_once(browser, model_folder, tones):
    from selenium.webdriver.common.by import By

    with served(model_folder, "--token", "open sesame") as server:
        browser.get(f"http://{server.host}:{server.port}/")
        until(browser, "!document.getElementById('token-card').hidden")
        browser.find_element(By.ID, "token").send_keys("open sesame")
        browser.find_element(By.CSS_SELECTOR, "#token-form button").click()
        until(browser, "document.getElementById('token-card').hidden")
        label, paths = next(iter(tones.items()))
        give(browser, paths[0])
        until(browser, "!document.getElementById('result').hidden")
        assert text(browser, "label") == label
