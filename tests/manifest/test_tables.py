"""One reader for every table: lines, quotes, delimiters, encodings, and names of files as other systems write them."""

import unicodedata

import pytest

from embedx import read_manifest
from embedx.errors import ManifestError
from embedx.manifest import Source, shorten_pair, with_labels
from embedx.manifest.table import read_table


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    return tmp_path / "clips.csv"


def test_rows_are_the_lines_of_the_file(place):
    place.write_text('path,title\n\na.wav,"one\ntwo\nthree"\n\na.wav,x\n')
    assert list(read_table(place).lines) == [3, 7]


@pytest.mark.parametrize("above", ["", "\n", "# made by hand\n", "sep=;\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_add_is_understood(place, above, encoding):
    place.write_text(f"{above}path;label\na.wav;dög\n", encoding=encoding)
    assert read_manifest(place)[0].label == "dög"


def test_the_last_comment_is_the_header_of_a_list_as_audioset_writes_it(place):
    lines = [
        "# Segments csv created Sun",
        "# num=1, n=2",
        "# path, start_seconds, end_seconds, labels",
        'a.wav, 0.5, 1.0, "/m/1,/m/2"',
    ]
    place.write_text("\n".join(lines))
    manifest = read_manifest(place, label_column="labels")
    assert [(source.id, source.label) for source in manifest] == [("a.wav#0.5-1", "/m/1,/m/2")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label\na.wav,"dog\na.wav,cat\n', "row 2: a quote begins that never ends"),
        ("a.wav,dog\nb.wav,cat\n", "If its first row is a clip already, write a header above it"),
        (f"path,label\na.wav,{'x' * 130_000}\n", "row 2: the label has 130,000 characters .* at most 1,000"),
        (f"path,group\na.wav,{'x' * 1_001}\n", "row 2: the group has 1,001 characters"),
        (
            "path,label\nhttps://example.org/a.mp3,dog\n",
            r"lists links \('https://example.org/a.mp3'\): .* embedx download",
        ),
        (f"path\n/{'very-long-folder/' * 30}a.wav\n", r"the first is '\.\.\./.*/a\.wav'"),
    ],
)
def test_a_bad_table_is_one_clear_line(place, text, message):
    place.write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(place)
    assert len(str(caught.value)) < 1_000


def test_a_long_cell_that_is_not_read_is_no_error(place):
    place.write_text(f"path,label,transcript\na.wav,dog,{'x' * 200_000}\n")
    assert read_manifest(place)[0].label == "dog"


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_the_same_however_they_are_composed(place, disk, table):
    name = "caf\u00e9/\u00fc.wav"
    real = place.parent / unicodedata.normalize(disk, name)
    real.parent.mkdir()
    real.write_bytes(b"x")
    place.write_text(f"path,label\n{unicodedata.normalize(table, name)},dog\n", encoding="utf-8")
    manifest = read_manifest(place)
    assert manifest.path_of(manifest[0]) == real
    named = [Source(unicodedata.normalize(table, name), label="dog")]
    assert with_labels([Source(unicodedata.normalize(disk, name))], named)[0].label == "dog"


def test_spaces_and_backslashes_in_names(place):
    (place.parent / "dog").mkdir()
    for name in ("dog/x y.wav", " lead.wav"):
        (place.parent / name).write_bytes(b"x")
    place.write_text("path,label\ndog\\x y.wav,dog\n lead.wav,cat\n a.wav ,cat\n")
    assert [source.uri for source in read_manifest(place)] == ["dog/x y.wav", " lead.wav", "a.wav"]


def test_long_paths_are_shown_where_they_differ():
    assert shorten_pair("/home/somebody/project/data/x/a.wav", "/home/somebody/project/data/y/a.wav") == (
        ".../x/a.wav",
        ".../y/a.wav",
    )
    assert shorten_pair("/d/x.wav", "/d/y.wav") == ("/d/x.wav", "/d/y.wav")
