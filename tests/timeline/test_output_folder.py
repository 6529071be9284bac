"""A folder of time lines: names that are never shared, and what it knows of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedx.errors import ParameterError
from embedx.manifest import Source
from embedx.timeline.output_folder import LEDGER, OutputFolder, output_names

part = st.text("ab_.", min_size=1, max_size=3).filter(lambda text: set(text) != {"."})
uris = st.lists(st.lists(part, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True)


@given(uris)
def test_every_recording_has_a_file_of_its_own(names):
    sources = [Source(f"{name}.wav") for name in names]
    found = output_names(sources, "csv")
    assert len({name.lower() for name in found.values()}) == len(sources)
    assert not any("/" in name for name in found.values())


def test_a_ledger_that_is_none(tmp_path):
    (tmp_path / LEDGER).write_text('{"mine": 1}\n')
    with pytest.raises(ParameterError, match="is no list of time lines"):
        OutputFolder(tmp_path, {})


def test_lines_that_are_none_are_passed_over(tmp_path):
    lines = ['{"format": "embedx.timelines", "options": {"a": 1}}', "[]", '{"file": 3}', '{"file": "x.csv"}', '{"fi']
    text = "\n".join(lines)
    (tmp_path / LEDGER).write_text(text)
    folder = OutputFolder(tmp_path, {"a": 1})
    assert not folder.is_done("x.csv", tmp_path / LEDGER)
