"""The figure of the tutorial shows what was measured."""

from xml.etree import ElementTree

from benchmarks.timeline.figure import PLACE, read


def test_the_figure_is_drawn_from_the_result():
    text = PLACE.read_text(encoding="utf-8")
    assert text == read()
    assert ElementTree.fromstring(text).tag.endswith("svg")
