"""Figures are valid, keep inside their frame, and name every series where it can be read."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.tools.figures import HEIGHT, LEFT, LINE, RIGHT, WIDTH, draw_figure

SVG = "{http://www.w3.org/2000/svg}"
LINES = {
    "title": "A & B < C",
    "x": "clips",
    "y": "accuracy, %",
    "log_x": True,
    "series": [
        {"name": "tiny", "points": [[10, 50.0, 45.0, 55.0], [100, 70.0, 66.0, 74.0], [1000, 80.0, 77.0, 83.0]]},
        {"name": "random", "points": [[10, 50.0, None, None], [100, 70.5, None, None], [1000, 80.1, None, None]]},
        {"name": "majority", "style": "level", "points": [[1, 10.0]]},
    ],
}
DOTS = {
    "title": "Cost",
    "x": "s",
    "y": "%",
    "log_x": True,
    "series": [{"name": f"head {i}", "style": "dots", "points": [[10.0**i, 80.0]]} for i in range(-2, 6)],
}


@pytest.mark.parametrize("figure", [LINES, DOTS], ids=["lines", "dots"])
def test_a_figure_is_valid_and_inside_its_frame(figure):
    root = ElementTree.fromstring(draw_figure(figure))
    for circle in root.iter(f"{SVG}circle"):
        assert LEFT <= float(circle.get("cx")) <= WIDTH - RIGHT
        assert 0 <= float(circle.get("cy")) <= HEIGHT
    shown = [text.text for text in root.iter(f"{SVG}text")]
    for series in figure["series"]:
        assert any(series["name"] in (text or "") for text in shown)
    assert figure["title"] in shown


def test_names_of_equal_height_do_not_overlap():
    drawn = draw_figure(DOTS)
    heights = [float(y) for y in re.findall(rf'<text x="{WIDTH - RIGHT + 8}" y="([\d.]+)"', drawn)]
    assert len(heights) == len(DOTS["series"])
    assert all(b - a >= LINE for a, b in itertools.pairwise(heights))


def test_higher_is_higher_and_more_is_further_right():
    root = ElementTree.fromstring(draw_figure({**LINES, "series": LINES["series"][:1]}))
    spots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert [x for x, _ in spots] == sorted(x for x, _ in spots)
    assert [y for _, y in spots] == sorted((y for _, y in spots), reverse=True)
    assert spots[1][0] - spots[0][0] == pytest.approx(spots[2][0] - spots[1][0], abs=0.2)


def test_an_interval_is_a_band_and_none_is_none():
    assert draw_figure(LINES).count("<polygon") == 1


def test_a_forecast_is_inside_the_frame_and_hollow():
    ahead = [2000, 84.0, 70.0, 95.0]
    root = ElementTree.fromstring(draw_figure({**LINES, "series": [{**LINES["series"][0], "ahead": ahead}]}))
    *measured, forecast = root.iter(f"{SVG}circle")
    assert float(forecast.get("cx")) > max(float(circle.get("cx")) for circle in measured)
    assert float(forecast.get("cx")) <= WIDTH - RIGHT
    assert [circle.get("fill") == "white" for circle in (*measured, forecast)] == [False, False, False, True]


def test_controls_are_grey_and_take_no_colour_from_the_encoders():
    drawn = draw_figure({**LINES, "series": [LINES["series"][2], LINES["series"][0]]})
    assert 'stroke="#222222" stroke-dasharray' in drawn
    assert 'stroke="#0072b2"' in drawn
