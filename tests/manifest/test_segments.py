"""Columns that cut files into segments, whatever they are called, and what is said of those that were not read."""

import warnings

import pytest

from embedx import Manifest, read_manifest
from embedx.errors import EmbedxWarning, ManifestError


@pytest.fixture
def write(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x")

    def write(text, name="clips.csv"):
        place = tmp_path / name
        place.write_text(text, encoding="utf-8")
        return place

    return write


def read(place, **options):
    """Read without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_manifest(place, **options)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("path,label,start_time,end_time", "a.wav,dog,0.5,1.25"),
        ("File,Common name,Start (s),End (s)", "a.wav,dog,0.5,1.25"),
        ("path,label,Begin Time (s),End Time (s)", "a.wav,dog,0.5,1.25"),
        ("filename,event_label,onset,offset", "a.wav,dog,0.5,1.25"),
        ("path,label,onset,duration", "a.wav,dog,0.5,0.75"),
        ("path,label,start,duration", "a.wav,dog,0.5,0.75"),
        ("path,label,Start,Duration (sec)", "a.wav,dog,0.5,0.75"),
        ("audio_filepath,label,offset,duration", "a.wav,dog,0.5,0.75"),
        ("path,label,startTime,endTime", "a.wav,dog,0.5,1.25"),
        ("path,label,segment_start,segment_end", "a.wav,dog,0.5,1.25"),
        ("path,label,start_time_seconds,end_time_seconds", "a.wav,dog,0.5,1.25"),
        ("path,label,start_ms,end_ms", "a.wav,dog,500,1250"),
        ("path,label,startsec,endsec", "a.wav,dog,0.5,1.25"),
        ("path,label,starts,ends", "a.wav,dog,0.5,1.25"),
        ("path,label,t_start,t_end", "a.wav,dog,0.5,1.25"),
        ("path,label,start (\u00b5s),end (\u03bcs)", "a.wav,dog,500000,1250000"),
        ("path,label,Begin Time - ss.msec,End Time - ss.msec", "a.wav,dog,0.5,1.25"),
        ("path,label,Begin Time - msec,End Time - msec", "a.wav,dog,500,1250"),
        ("path,label,start_s,start_ms,end_s", "a.wav,dog,0.5,500,1.25"),
        ("path,label,tmin,tmax", "a.wav,dog,0.5,1.25"),
        ("file,label,start,end", "a.wav,dog,0 days 00:00:00.500000,0 days 00:00:01.250000"),
        ("path,label,start,stop", "a.wav,dog,0:00.5,00:00:01.25"),
    ],
)
def test_segments_are_known_by_many_names(write, header, cells):
    assert [(source.id, source.label) for source in read(write(f"{header}\n{cells}\n"))] == [("a.wav#0.5-1.25", "dog")]


def test_named_columns_cut_segments_and_an_empty_name_reads_none(write):
    place = write("path,label,from,to,start,end\na.wav,dog,1,2,7,8\n")
    assert read(place, start_column="from", stop_column="to")[0].id == "a.wav#1-2"
    assert read(place, start_column="", stop_column="")[0].id == "a.wav"
    assert read(place, start_column="from", stop_column="", duration_column="to")[0].id == "a.wav#1-3"
    with pytest.raises(ManifestError, match="both end a segment"):
        read(place, stop_column="end", duration_column="to")


def test_a_length_is_no_end_where_an_end_is_known(write):
    assert read(write("path,label,start,end,duration\na.wav,dog,1,2,99\n"))[0].id == "a.wav#1-2"


@pytest.mark.parametrize(
    ("header", "cell", "column", "way"),
    [
        ("path,label,duration", "4", "duration", "--duration-column 'duration'"),
        ("path,label,clip_start", "4", "clip_start", "--start-column 'clip_start'"),
        ("path,label,offset", "4", "offset", "--start-column 'offset'"),
        (
            "path,label,start_time",
            "10:05:03",
            "start_time",
            "--start-column 'start_time'",
        ),  # of the day, or of the file
        ("path,label,start_sample", "16000", "start_sample", "Write it in seconds"),
    ],
)
def test_a_column_that_looks_like_time_is_not_passed_over_in_silence(write, header, cell, column, way):
    with pytest.warns(EmbedxWarning, match=f"column '{column}' looks like time and was not read.*{way}"):
        manifest = read_manifest(write(f"{header}\na.wav,dog,{cell}\n"))
    assert manifest[0].id == "a.wav"
    assert manifest.unread == (column,)


def test_what_is_no_time_in_the_file_gives_no_warning(write):
    read(write("path,label,source_start,seconds,started,weekend,url\na.wav,dog,12.5,5,yes,no,x\n"))
    read(write("path,label,duration\na.wav,dog,4\n"), duration_column="")


@pytest.mark.parametrize(
    ("header", "clip"),
    [
        ("beg,end", "a.wav#1-2"),
        ("from,to", "a.wav#1-2"),
        ("t_min,t_max", "a.wav#1-2"),
        ("start (min),end (min)", "a.wav#60-120"),
        ("start_minute,end_minute", "a.wav#60-120"),
    ],
)
def test_segments_have_other_names_and_units_too(write, header, clip):
    assert read(write(f"path,label,{header}\na.wav,dog,1,2\n"))[0].id == clip


def test_a_stop_without_a_start_is_not_passed_over_in_silence(write):
    with pytest.warns(EmbedxWarning, match="column 'end' was read as the stop and none as the start"):
        read_manifest(write("path,label,debut,end\na.wav,dog,1,2\n"))
    read(write("path,label,debut,end\na.wav,dog,1,2\n"), start_column="")


def test_rows_of_one_file_that_differ_in_numbers_may_be_its_segments(write):
    with pytest.warns(
        EmbedxWarning, match="1 of 3 rows name the file of an earlier row.*'first', 'second'.*start-column"
    ):
        read_manifest(write("path,label,first,second\na.wav,dog,1,2\na.wav,dog,3,4\nb.wav,cat,1,2\n"))
    read(write("path,label,size\na.wav,dog,1\na.wav,dog,1\nb.wav,cat,1\n"))


def test_a_split_under_another_name_is_not_passed_over_in_silence(write):
    text = "path,label,usage\na.wav,dog,Train\nb.wav,dog,Test\n"
    with pytest.warns(EmbedxWarning, match="column 'usage' names parts of the data .* --split-column"):
        read_manifest(write(text))
    read(write(text), split_column="")
    read(write("path,label,split,usage\na.wav,dog,train,Train\nb.wav,dog,test,Test\n"))


def test_samples_are_not_taken_for_seconds(write):
    with pytest.raises(ManifestError, match="column 'start_sample' counts samples, frames, hours or the like"):
        read(write("path,label,start_sample\na.wav,dog,16000\n"), start_column="start_sample")


@pytest.mark.parametrize("header", ["start (%)", "start (100ns)", "start_idx", "start_ticks", "start (cs)"])
def test_a_unit_that_is_no_time_is_not_taken_for_seconds(write, header):
    place = write(f"path,label,{header}\na.wav,dog,10\n")
    with pytest.raises(ManifestError, match="give a column of seconds"):
        read(place, start_column=header)
    with pytest.raises((ManifestError, EmbedxWarning)):  # nor left out without a word
        read(place)


@pytest.mark.parametrize("header", ["Begin Time - hh:mm:ss.ms", "start_ms", "start (mm:ss)"])
def test_a_clock_counts_no_units(write, header):
    place = write(f"path,label,{header}\na.wav,dog,00:01:02.500\n")
    assert read(place, start_column=header)[0].start_seconds == 62.5


@pytest.mark.parametrize(
    ("cell", "way"), [("0,5", "decimal point: 0.5"), ("1.5 s", "no number"), ("1.234,5", "no number"), ("-1", "0 or")]
)
@pytest.mark.parametrize("header", ["start", "start_time", "Begin Time (s)"])
def test_a_number_that_is_not_read_is_not_the_whole_file(write, header, cell, way):
    with pytest.raises(ManifestError, match=f"row 2, column .*{way}"):
        read(write(f"path;label;{header}\na.wav;dog;{cell}\n"))


@pytest.mark.parametrize("names", ["in,out", "st,et", "t0,t1", "xmin,xmax", "Anfang,Ende", "timestamp,x", "time,x"])
def test_names_that_may_mean_times_are_told(write, names):
    with pytest.warns(EmbedxWarning, match=f"column {names.split(',')[0]!r} looks like time and was not read"):
        manifest = read_manifest(write(f"path,label,{names}\na.wav,dog,1.5,2.5\nb.wav,dog,2.5,3.5\n"))
    assert manifest[0].id == "a.wav"


def test_times_of_the_day_or_dates_are_not_told(write):
    read(write("path,label,time,start_date\na.wav,dog,07:30,2019-05-01\nb.wav,dog,12:15:00,2019-05-02\n"))
    read(write("path,label,timestamp\na.wav,dog,1600000000\nb.wav,dog,1600000060\n"))


def test_two_columns_of_one_meaning_must_agree(write):
    place = write("path,label,start_min,start_sec,end\na.wav,dog,1,5,70\n")
    with pytest.raises(ManifestError, match="row 2: the columns 'start_min' and 'start_sec' both mean the start"):
        read(place)
    assert read(place, start_column="start_sec")[0].id == "a.wav#5-70"
    assert read(write("path,label,start,length,duration\na.wav,dog,1,99,2\n"))[0].id == "a.wav#1-3"
    assert read(write("path,label,start,end,duration,Delta Time (s)\na.wav,dog,1,2,3,4\n"))[0].id == "a.wav#1-2"


def test_the_slices_of_urbansound8k_are_whole_files(write):
    place = write("slice_file_name,fsID,start,end,salience,fold,classID,class\na.wav,100,0.5,2.5,1,5,3,dog\n")
    assert read(place)[0].id == "a.wav"
    assert read(place, start_column="start", stop_column="end")[0].id == "a.wav#0.5-2.5"


def test_two_columns_of_one_name_are_refused(write):
    with pytest.raises(ManifestError, match=r"has 2 columns 'start_time' \(read as start\)"):
        read(write("path,label,start_time,start_time\na.wav,dog,1,2\n"))


def test_a_cell_that_is_no_time_is_an_error_where_the_others_are(write):
    with pytest.raises(ManifestError, match="row 3, column 'start_time': 'soon' is no number of seconds"):
        read(write("path,label,start_time\na.wav,dog,1\nb.wav,dog,soon\n"))


def test_a_label_column_that_is_not_guessed_is_named(write):
    place = write("path,language,speaker\na.wav,en,x\nb.wav,es,y\n")
    with pytest.warns(EmbedxWarning, match="no column was read as the label.*'language'.*--label-column"):
        manifest = read_manifest(place)
    with pytest.raises(ManifestError, match=r"nothing was read as the label: name one.*'language'"):
        manifest.require_labels("clips.csv")
    assert read(place, label_column="Language ").columns["label"] == "language"
    assert read(place, label_column="").unread == ("language",)


def test_what_is_named_for_one_role_is_not_guessed_for_another(write):
    assert read(write("path,speaker\na.wav,ann\nb.wav,bob\n"), label_column="speaker")[0].group is None


def test_groups_and_parts_with_gaps_are_counted(write):
    place = write("path,label,group,split\na.wav,dog,x,train\nb.wav,cat,,\n")
    with pytest.warns(EmbedxWarning) as caught:
        read_manifest(place)
    texts = [str(one.message) for one in caught]
    assert any("1 of 2 rows have no group (column 'group', the first is row 3)" in text for text in texts)
    assert any("1 of 2 rows have no split" in text for text in texts)


def test_an_empty_column_of_groups_or_parts_is_said(write):
    place = write("path,label,speaker,split\na.wav,dog,,\nb.wav,cat,,\n")
    with pytest.warns(EmbedxWarning) as caught:
        read_manifest(place)
    texts = [str(one.message) for one in caught]
    assert any("no row has a group: the column 'speaker' is empty" in text for text in texts)
    assert any("no row has a split: the column 'split' is empty" in text for text in texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label,split\na.wav,dog,train\na.wav,dog,test\n",
            "a.wav: the split is 'train' in row 2 and 'test' in row 3",
        ),
        ("path,label,speaker\na.wav,dog,ann\n./a.wav,dog,bob\n", "the group is 'ann' in row 2 and 'bob' in row 3"),
        ("path,label\na.wav,\na.wav,dog\nb.wav,cat\na.wav,cat\n", "the label is 'dog' in row 3 and 'cat' in row 5"),
        ('path,title,label\na.wav,"two\nlines",dog\na.wav,t,cat\n', "'dog' in row 2 and 'cat' in row 4"),
    ],
)
def test_rows_of_one_clip_that_contradict_each_other_are_named(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read(write(text))


def test_an_unlabelled_copy_of_a_clip_contradicts_nothing(write):
    manifest = read(write("path,label,group,split\na.wav,,x,train\na.wav,dog,x,train\na.wav,dog,x,train\n"))
    assert [(s.label, s.group, s.split) for s in manifest] == [("dog", "x", "train")]
    assert manifest.n_repeats == 2
    assert Manifest.from_paths(["a", "a"], labels=[float("nan"), "dog"])[0].label == "dog"


def test_a_data_frame_is_a_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"file": ["a.wav", "b.wav"], "label": ["dog", None], "start": [0.5, float("nan")], "end": [1, 2]}
    )
    manifest = Manifest.from_dataframe(frame, root=tmp_path)
    assert [(source.id, source.label) for source in manifest] == [("a.wav#0.5-1", "dog"), ("b.wav#0-2", None)]
    with pytest.raises(ManifestError, match="unknown argument 'labels_column': did you mean 'label_column'"):
        Manifest.from_dataframe(frame, labels_column="x")
    times = [pandas.to_timedelta([begin, begin + 1], unit="s") for begin in (0, 1)]
    audb = pandas.DataFrame(
        {"class": ["x", "y"]},
        pandas.MultiIndex.from_arrays([["a.wav", "b.wav"], *times]).set_names(["file", "start", "end"]),
    )
    assert [source.id for source in Manifest.from_dataframe(audb)] == ["a.wav#0-1", "b.wav#1-2"]
    missing = pandas.Series(["dog", pandas.NA, "", "NA"], dtype="string")
    assert [s.label for s in Manifest.from_paths(list("abcd"), labels=missing)] == ["dog", None, None, "NA"]
