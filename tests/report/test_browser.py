"""The page in a real browser: every plot drawn, the map answers, nothing of strangers runs, no connection."""

from dataclasses import replace

import numpy as np
import pytest

from embedx.report.html import render_html
from tests.chromium import chromium

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def open_page(browser, path, *, width=1280, theme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"


@pytest.fixture(scope="module")
def path(hostile, tmp_path_factory):
    comparison, dataset = hostile
    folder = tmp_path_factory.mktemp("results")
    findings = [{"title": "T", "level": "bad", "text": "<img src=x onerror=window.pwned=1>", "items": ["one"]}]
    page = render_html(comparison, dataset, findings=findings, page_folder=folder)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(browser, path):
    open_page(browser, path)
    return browser


def test_no_error_no_connection_and_nothing_of_strangers_runs(opened):
    assert opened.get_log("browser") == []
    assert opened.execute_script("return window.pwned") is None
    requests = [entry["message"] for entry in opened.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert not [message for message in requests if '"url":"http' in message]
    assert opened.execute_script("return document.images.length") == 0
    headings = opened.execute_script("return [...document.querySelectorAll('#confusion text')].map(t => t.textContent)")
    assert any(text.startswith("</script><img") for text in headings)


def test_every_plot_is_drawn(opened):
    drawn = opened.execute_script(
        """return Object.fromEntries([...document.querySelectorAll('figure')].map(f =>
           [f.id || f.className, f.querySelectorAll('svg circle, svg rect, svg polyline').length]))"""
    )
    assert set(drawn) == {"confusion", "recall", "reliability", "folds", "plot-layers", "plot-learning", "plot-study"}
    assert all(marks >= 3 for marks in drawn.values()), drawn
    broken = opened.execute_script(
        """return [...document.querySelectorAll('svg *')].filter(n =>
           [...n.attributes].some(a => /NaN|undefined|Infinity/.test(a.value))).length"""
    )
    assert broken == 0
    assert painted(opened) > 500
    assert len(opened.find_elements("css selector", "#table tbody tr")) == 6
    axes = opened.execute_script(
        """return [...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg text')]
           .filter(t => /accuracy, %|recall, %|sure the head is|trial/.test(t.textContent)).length)"""
    )
    assert sum(count > 0 for count in axes) == 6  # all but the confusion matrix, whose axes are the classes
    assert len(opened.find_elements("css selector", "#table tbody svg circle")) >= 6


def painted(browser):
    return browser.execute_script(
        """const c = document.getElementById('map'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
           let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i] > 200) n++; return n;"""
    )


def pointer(browser, kind, x, y):
    box = browser.execute_script(
        """const c = document.getElementById('map'); c.scrollIntoView({block: 'center', behavior: 'instant'});
           const r = c.getBoundingClientRect(); return [r.left, r.top];"""
    )
    where = {"x": box[0] + x, "y": box[1] + y}
    kinds = ("mousePressed", "mouseReleased") if kind == "click" else ("mouseMoved",)
    for name in kinds:
        event = {"type": name, **where, "button": "left" if kind == "click" else "none", "clickCount": kind == "click"}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {**event, "clickCount": int(event["clickCount"])})


def test_the_map_answers_a_hover_and_a_click(opened):
    x, y = opened.execute_script("return placed[5]")
    pointer(opened, "hover", x, y)
    tip = opened.find_element("id", "tip")
    assert tip.is_displayed()
    assert "heard as" in tip.text
    pointer(opened, "click", x, y)
    detail = opened.find_element("id", "detail")
    assert "heard as" in detail.text
    assert detail.find_elements("css selector", "audio, a.link")
    pointer(opened, "hover", -30, -30)
    assert not tip.is_displayed()


def test_a_recording_in_the_page_really_plays(opened):
    lasts = opened.execute_async_script(
        """const done = arguments[0], audio = new Audio('data:audio/ogg;base64,' + D.clips.find(c => c.audio).audio);
           audio.onloadedmetadata = () => done(audio.duration); audio.onerror = () => done(-1);"""
    )
    assert lasts == pytest.approx(0.8, abs=0.1)


def test_the_map_can_be_walked_by_keys(opened):
    from selenium.webdriver.common.keys import Keys

    canvas = opened.find_element("id", "map")
    canvas.send_keys(Keys.ARROW_RIGHT)
    first = opened.execute_script("return state.selected")
    canvas.send_keys(Keys.ARROW_LEFT)
    second = opened.execute_script("return state.selected")
    assert first >= 0
    assert second != first
    assert opened.find_element("id", "tip").is_displayed()
    canvas.send_keys(Keys.ESCAPE)
    assert opened.execute_script("return state.selected") == -1


def test_head_colour_and_projection_can_be_changed(opened):
    from selenium.webdriver.support.select import Select

    before = opened.find_element("id", "recall").get_attribute("innerHTML")
    Select(opened.find_element("id", "head")).select_by_value("majority")
    assert opened.find_element("id", "recall").get_attribute("innerHTML") != before
    for text in ("by error", "PCA"):
        button = opened.find_element("xpath", f"//button[.='{text}']")
        opened.execute_script("arguments[0].click()", button)
        assert button.get_attribute("aria-pressed") == "true"
        assert painted(opened) > 300
    assert "wrong" in opened.find_element("id", "legend").text


def test_the_table_sorts(opened):
    button = opened.find_element("css selector", "button[data-key='log-loss']")
    opened.execute_script("arguments[0].click()", button)
    values = [float(cell.text) for cell in opened.find_elements("css selector", "#table tbody td:nth-child(6)")]
    assert values == sorted(values)


@pytest.mark.parametrize("width", [1280, 768, 375])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_width_in_light_and_dark(browser, path, width, theme):
    open_page(browser, path, width=width, theme=theme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.documentElement.dataset.theme") == theme
    small = browser.execute_script(
        """return [...document.querySelectorAll('p, li, td, h2')].filter(n => n.offsetParent &&
           n.getBoundingClientRect().right > innerWidth + 1 && !n.closest('.scroll')).length"""
    )
    assert small == 0


def test_fine_tuning_curves_and_many_classes_are_drawn(browser, hostile, tmp_path):
    comparison, _ = hostile
    epochs = tuple(
        {"train_loss": 1.0 / (i + 1), "valid_loss": 1.2 / (i + 1), "valid_accuracy": i / 9} for i in range(9)
    )
    row = comparison["logreg"]
    tuned = replace(row, name="finetune", head="finetune", folds=tuple(replace(f, epochs=epochs) for f in row.folds))
    many = 70
    spread = np.tile(np.arange(many) % 3, (many, 1)).astype(float).tolist()
    recall = {**row.recall, **{f"class {i}": None for i in range(many - 3)}}
    rows = [replace(one, confusion=spread, recall=recall) for one in (*comparison.rows, tuned)]
    proba = {**comparison.proba, "finetune": comparison.proba["logreg"]}
    classes = (*comparison.classes, *(f"class {i}" for i in range(many - 3)))
    wide = {name: np.pad(values, ((0, 0), (0, 0), (0, many - 3))) for name, values in proba.items()}
    page = render_html(replace(comparison, rows=tuple(rows), proba=wide, classes=classes))
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    browser.get_log("browser")  # what earlier tests left there
    open_page(browser, tmp_path / "report.html")
    assert browser.get_log("browser") == []
    for name in ("plot-epochs", "plot-epochs-accuracy"):
        assert len(browser.find_elements("css selector", f"figure.{name} polyline")) == len(row.folds)
    assert len(browser.find_elements("css selector", "#confusion rect")) == 40
    assert "too many for a matrix" in browser.find_element("id", "confusion").text


def test_several_encoders_are_drawn_against_their_size_and_their_time(browser, several_encoders, tmp_path):
    comparison, names = several_encoders
    (tmp_path / "report.html").write_text(render_html(comparison), encoding="utf-8")
    for width in (1280, 390):
        browser.get_log("browser")
        open_page(browser, tmp_path / "report.html", width=width)
        assert browser.get_log("browser") == []
        assert browser.execute_script("return window.pwned") is None
        for figure in ("plot-parameters", "plot-seconds"):
            assert len(browser.find_elements("css selector", f"figure.{figure} circle")) == len(names)
            shown = browser.execute_script(
                f"return [...document.querySelectorAll('figure.{figure} circle title')].map(t => t.textContent)"
            )
            assert {text.rpartition(": ")[0] for text in shown} == set(names)
        outside = browser.execute_script(
            """return [...document.querySelectorAll('.plot-parameters svg, .plot-seconds svg')].flatMap(s => {
               const box = s.getBoundingClientRect();
               return [...s.querySelectorAll('text, circle')].map(n => n.getBoundingClientRect())
                 .filter(r => r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1); }).length"""
        )
        assert outside == 0
    assert len(browser.find_elements("css selector", "#encoders tbody tr")) == len(names)


def test_on_a_phone_the_text_of_plots_is_not_shrunk(browser, path):
    open_page(browser, path, width=390)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) > 9


def test_everything_that_is_pressed_can_be_reached_by_keys(opened):
    unreachable = opened.execute_script(
        """return [...document.querySelectorAll(
               'button, select, a[href], summary, canvas:not([role=img].spectrogram), audio')]
           .filter(n => n.tabIndex < 0 || !(n.textContent || n.getAttribute('aria-label') || n.labels)).length"""
    )
    assert unreachable == 0
