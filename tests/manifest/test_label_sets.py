"""Several labels a clip: a joined cell, a 0/1 column for each class, several rows; one canonical text in all cases."""

import pytest

from embedx import read_manifest
from embedx.errors import ManifestError, ParameterError


@pytest.fixture
def place(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    return tmp_path / "clips.csv"


def labels(place, text, **options):
    place.write_text(text)
    manifest = read_manifest(place, **options)
    return manifest, [source.label for source in manifest]


SETS = ["dog|rain", "dog", "|"]


def test_three_ways_of_writing_say_the_same(place):
    joined = labels(place, "path,label\na.wav,rain | dog|rain\nb.wav,dog\nc.wav,|\n", label_separator="|")
    columns = labels(place, "path,dog,rain\na.wav,1,1\nb.wav,1,0\nc.wav,0,0\n", label_columns="dog,rain")
    rows = labels(place, "path,label\na.wav,rain\nb.wav,dog\na.wav,dog\nc.wav,|\nb.wav,dog\n", multi_label=True)
    assert joined[1] == columns[1] == rows[1] == SETS
    assert joined[0].hash == columns[0].hash == rows[0].hash
    assert {one[0].label_separator for one in (joined, columns, rows)} == {"|"}
    assert rows[0].n_repeats == 2


def test_without_being_asked_a_label_stays_one_and_rows_contradict(place):
    manifest, found = labels(place, "path,label\na.wav,rain|dog\n")
    assert (found, manifest.label_separator) == (["rain|dog"], None)
    with pytest.raises(ManifestError, match=r"the label is 'rain' in row 2 and 'dog' in row 3.*--multi-label"):
        labels(place, "path,label\na.wav,rain\na.wav,dog\n")


def test_rows_of_one_clip_add_labels_and_still_not_groups(place):
    with pytest.raises(ManifestError, match="the group is 's1' in row 2 and 's2' in row 3"):
        labels(place, "path,label,group\na.wav,rain,s1\na.wav,dog,s2\n", multi_label=True)


def test_an_empty_cell_is_no_label_and_a_separator_alone_is_the_empty_set(place):
    assert labels(place, "path,label\na.wav,\nb.wav,;\nc.wav,x\n", label_separator=";")[1] == [None, ";", "x"]
    assert labels(place, "path,dog,rain\na.wav,,\nb.wav,0,0\nc.wav,0,1\n", label_columns="dog,rain")[1] == [
        None,
        "|",
        "rain",
    ]


def test_class_columns_are_found_by_a_pattern_and_are_not_called_unread(place):
    manifest, found = labels(
        place,
        "path,is dog,is rain,note\na.wav,TRUE,1.0,x\nb.wav,no,0,y\n",
        label_columns="is *",
        label_separator="+",
    )
    assert found == ["is dog+is rain", "+"]
    assert manifest.columns["label"] == "is dog,is rain"
    assert manifest.unread == ("note",)


def test_a_plural_column_is_the_label_where_several_are_asked_for(place):
    assert labels(place, "path,labels\na.wav,dog|rain\n", multi_label=True)[1] == ["dog|rain"]
    assert labels(place, "path,labels,label\na.wav,x,dog\n", multi_label=True)[1] == ["dog"]


def test_a_folder_is_one_label_a_clip_read_as_a_set(tmp_path):
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.wav").write_bytes(b"x")
    manifest = read_manifest(tmp_path, multi_label=True)
    assert (manifest[0].label, manifest.label_separator) == ("dog", "|")
    with pytest.raises(ManifestError, match="is a folder and has no columns"):
        read_manifest(tmp_path, label_columns="dog")


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({"label_columns": "dgo"}, "path,dog\na.wav,1\n", "unknown column 'dgo': did you mean 'dog'"),
        ({"label_columns": "dog"}, "path,dog\na.wav,2\n", "row 2, column 'dog': it holds '2'"),
        ({"label_columns": "dog,rain"}, "path,dog,rain\na.wav,1,\n", "column 'rain': it is empty beside others"),
        ({"label_columns": "d|g"}, "path,d|g\na.wav,1\n", "holds the separator"),
        ({"label_columns": " , "}, "path,dog\na.wav,1\n", "names no column"),
        ({"label_columns": "dog"}, "path,dog,dog\na.wav,1,0\n", "several columns 'dog'"),
        ({"label_columns": "dog", "label_column": "path"}, "path,dog\na.wav,1\n", "both name the labels"),
        ({"multi_label": True}, f"path,label\na.wav,{'x' * 600}\na.wav,{'y' * 600}\n", "1,201 characters"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(place, options, text, message):
    with pytest.raises(ManifestError, match=message) as caught:
        labels(place, text, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", ["", " ", "a", "| ", "1", "\n", "|" * 9, 3])
def test_a_separator_is_no_letter_digit_or_blank(place, separator):
    with pytest.raises(ParameterError, match="label_separator="):
        labels(place, "path,label\na.wav,x\n", label_separator=separator)
