"""Files of segments are read by what reads them, and come back as they were."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import EmbedxWarning, ManifestError, ParameterError
from embedx.manifest import read_manifest
from embedx.testing import make_tone, write_wav
from embedx.timeline import FORMATS, Segment, SegmentOptions, TimeLine, read_segments, write_segments
from embedx.timeline.segment_writers import file_ending, format_segments
from embedx.timeline.textgrid import read_textgrid, write_textgrid


def make_line(path="rec 1.wav", classes=("dog", "rain, heavy")):
    """Eight windows: a dog, then rain over its end, then nothing."""
    starts = np.arange(8.0)
    proba = np.zeros((8, 2))
    proba[:4, 0] = 0.9
    proba[2:6, 1] = 0.75
    return TimeLine(path=str(path), classes=classes, start_seconds=starts, end_seconds=starts + 1, proba=proba)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "rec 1.wav"
    write_wav(str(path), make_tone(440, seconds=8.0))
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_comes_back(recording, format):
    line = make_line(recording)
    place = recording.parent / f"rec 1{file_ending(format)}"
    write_segments(line, place, format=format)
    found = read_segments(place)
    label = "rain,_heavy" if format == "rttm" else "rain, heavy"
    spans = sorted((s.segment.label, s.segment.onset_seconds, s.segment.offset_seconds) for s in found)
    assert spans == [("dog", 0.0, 4.0), (label, 2.0, 6.0)]


@pytest.mark.parametrize("format", ["csv", "audacity", "raven"])
def test_a_time_line_is_a_manifest(recording, format):
    """One can label with it: extract reads it as clips of the recording."""
    line = make_line(recording)
    place = recording.parent / f"rec 1{file_ending(format)}"
    write_segments(line, place, format=format)
    manifest = read_manifest(place)
    clips = [(s.uri, s.start_seconds, s.stop_seconds, s.label) for s in manifest]
    assert sorted(clips) == [("rec 1.wav", 0.0, 4.0, "dog"), ("rec 1.wav", 2.0, 6.0, "rain, heavy")]


def test_a_file_elsewhere_still_finds_its_recording(recording):
    folder = recording.parent / "out"
    folder.mkdir()
    write_segments(make_line(recording), folder / "rec.csv", format="csv")
    manifest = read_manifest(folder / "rec.csv")
    assert manifest.path_of(manifest[0]).resolve() == recording.resolve()


def test_audacity_reads_times_and_a_label_between_tabs():
    rows = [line.split("\t") for line in format_segments(make_line(), format="audacity").splitlines()]
    assert rows == [["0.0", "4.0", "dog"], ["2.0", "6.0", "rain, heavy"]]
    odd = make_line(classes=("a\tb", "c\nd"))
    assert [line.count("\t") for line in format_segments(odd, format="audacity").splitlines()] == [2, 2]


def test_raven_reads_a_tab_delimited_table_with_its_own_columns(recording):
    text = format_segments(make_line(recording), format="raven")
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["Selection"] for row in rows] == ["1", "2"]
    assert {row["View"] for row in rows} == {"Spectrogram 1"}
    assert all(float(row["Low Freq (Hz)"]) < float(row["High Freq (Hz)"]) for row in rows)
    assert [row["Begin Time (s)"] for row in rows] == [row["File Offset (s)"] for row in rows] == ["0.0", "2.0"]


@pytest.mark.parametrize("format", ["audacity", "raven"])
def test_crowsetta_reads_it(recording, format):
    crowsetta = pytest.importorskip("crowsetta", reason="needs crowsetta")
    place = recording.parent / f"rec 1{file_ending(format)}"
    write_segments(make_line(recording), place, format=format)
    if format == "audacity":
        found = crowsetta.formats.seq.AudSeq.from_file(place).to_seq()
        assert found.labels.tolist() == ["dog", "rain, heavy"]
        np.testing.assert_allclose(found.onsets_s, [0, 2])
        np.testing.assert_allclose(found.offsets_s, [4, 6])
        return
    boxes = crowsetta.formats.bbox.Raven.from_file(place, annot_col="Annotation").to_bbox()
    assert [(box.onset, box.offset, box.label) for box in boxes] == [(0, 4, "dog"), (2, 6, "rain, heavy")]


def test_praatio_reads_the_textgrid(recording):
    textgrid = pytest.importorskip("praatio.textgrid", reason="needs praatio")
    place = recording.parent / "rec.TextGrid"
    write_segments(make_line(recording, classes=('a "dog"', "ræv")), place, format="textgrid")
    grid = textgrid.openTextgrid(str(place), includeEmptyIntervals=True, reportingMode="error")
    assert grid.tierNames == ('a "dog"', "ræv")
    tier = grid.getTier("ræv")
    assert [(e.start, e.end, e.label) for e in tier.entries] == [(0, 2, ""), (2, 6, "ræv"), (6, 8, "")]
    assert grid.maxTimestamp == 8
    grid.save(str(recording.parent / "short.TextGrid"), format="short_textgrid", includeBlankSpaces=True)
    spans = [(s.segment.onset_seconds, s.segment.label) for s in read_segments(recording.parent / "short.TextGrid")]
    assert spans == [(0.0, 'a "dog"'), (2.0, "ræv")]


def test_rttm_keeps_to_the_specification():
    """NIST RT-09: ten fields between single blanks, times in seconds, <NA> for what is not known."""
    for line in format_segments(make_line("a b/rec 1.wav"), format="rttm").splitlines():
        kind, file, channel, onset, seconds, ortho, subtype, name, confidence, lookahead = line.split(" ")
        assert (kind, file, channel) == ("SPEAKER", "rec_1", "1")
        assert (ortho, subtype, lookahead) == ("<NA>", "<NA>", "<NA>")
        assert re.fullmatch(r"\d+\.\d+", onset)
        assert re.fullmatch(r"\d+\.\d+", seconds)
        assert float(seconds) > 0
        assert 0 <= float(confidence) <= 1
        assert name in ("dog", "rain,_heavy")


def test_sed_eval_reads_the_csv(recording):
    sed_eval = pytest.importorskip("sed_eval", reason="needs sed_eval")
    place = recording.parent / "rec.csv"
    write_segments(make_line(recording), place, format="csv")
    found = sed_eval.io.load_event_list(str(place))
    assert [(e["onset"], e["offset"], e["event_label"]) for e in found] == [(0, 4, "dog"), (2, 6, "rain, heavy")]


def test_json_holds_the_windows_where_asked(recording):
    line = make_line(recording)
    plain, full = (json.loads(format_segments(line, format="json", with_windows=w)) for w in (False, True))
    assert "windows" not in plain
    assert plain["format"] == "embedx.timeline"
    assert plain["options"]["high"] == SegmentOptions().high
    assert np.array(full["windows"]["probabilities"]).shape == (8, 2)
    assert [s["label"] for s in plain["segments"]] == ["dog", "rain, heavy"]


def test_a_time_line_without_segments_is_written_too(tmp_path):
    line = make_line().with_options(SegmentOptions(high=1.0))
    for format in FORMATS:
        place = tmp_path / f"none{file_ending(format)}"
        write_segments(line, place, format=format)
        assert read_segments(place) == ()


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8)


@given(st.lists(texts.filter(str.strip), min_size=1, max_size=3, unique_by=str.strip), st.data())
@settings(max_examples=100, deadline=None)
def test_any_label_survives_a_textgrid(names, data):
    names = [name.strip() for name in names]
    segments = []
    for name in names:
        edges = sorted(data.draw(st.sets(st.integers(0, 100), min_size=2, max_size=6)))
        pairs = zip(edges[::2], edges[1::2], strict=False)
        segments += [Segment(a / 10, b / 10, name) for a, b in pairs]
    text = write_textgrid(segments, names, 10.0)
    assert set(read_textgrid(text, place="x")) == set(segments)


TABLES = {
    "onset,offset,event_label\n0.5,2,dog\n1,3,rain\n": [(0.5, 2, "dog"), (1, 3, "rain")],
    "start\tstop\tlabel\n0.5\t2\tdog\n0.5\t2\train\n": [(0.5, 2, "dog"), (0.5, 2, "rain")],
    "filename,onset,duration,label\nx.wav,0.5,2,dog\n": [(0.5, 2.5, "dog")],
    "0.5\t2.0\tdog\n\\\t100\t200\n0.5\t2.0\tdog\n": [(0.5, 2, "dog")],
    "SPEAKER x 1 0.5 1.5 <NA> <NA> dog <NA> <NA>\n": [(0.5, 2, "dog")],
    (
        "Selection\tView\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
        "1\tWaveform 1\t0.5\t2\tdog\n1\tSpectrogram 1\t0.5\t2\tdog\n"
    ): [(0.5, 2, "dog")],
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_of_others(tmp_path, text):
    place = tmp_path / "labels.txt"
    place.write_text(text)
    found = [(s.segment.onset_seconds, s.segment.offset_seconds, s.segment.label) for s in read_segments(place)]
    assert found == TABLES[text]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\na.wav,dog\n", "onset and offset"),
        ("onset,offset,event_label\n2,1,dog\n", "not after its start"),
        ("onset,offset,event_label\nx,1,dog\n", "no number of seconds"),
        ("SPEAKER x 1 0.5 -1 <NA> <NA> dog <NA> <NA>\n", "line 1"),
        ('{"format": "other"}', "JSON"),
        (
            'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0 1 <exists>\n1\n"IntervalTier" "a" 0 1 3\n',
            "TextGrid",
        ),
    ],
)
def test_what_is_no_file_of_segments(tmp_path, text, told):
    place = tmp_path / "labels.txt"
    place.write_text(text)
    with pytest.raises(ManifestError, match=told):
        read_segments(place)


def test_rows_without_a_label_are_said(tmp_path):
    place = tmp_path / "labels.txt"
    place.write_text("0.5\t2.0\tdog\n3\t4\t\n")
    with pytest.warns(EmbedxWarning, match="1 row without a label"):
        assert len(read_segments(place)) == 1


def test_places_that_hold_no_segments(tmp_path):
    with pytest.raises(ManifestError, match="folder"):
        read_segments(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_segments(tmp_path / "nowhere.csv")
    with pytest.raises(ParameterError, match="did you mean 'textgrid'"):
        write_segments(make_line(), tmp_path / "x", format="textgird")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path, recording):
    place = tmp_path / "rec.csv"
    write_segments(make_line(recording), place)
    before = place.read_bytes()
    shutil.copymode(place, place)
    with pytest.raises(OSError, match=r"."):
        write_segments(make_line(recording), tmp_path / "no" / "rec.csv")
    assert place.read_bytes() == before
