"""From a CSV or a folder to unique sources, and one clear line for every way in which it can be wrong."""

import pytest

from embedx import Manifest, Source, read_manifest
from embedx.errors import ManifestError, SkippedSourcesWarning
from embedx.manifest import with_labels


@pytest.fixture
def folder(tmp_path):
    for name in ("dog/b.wav", "dog/a.ogg", "cat/deep/c.flac", "cat/notes.txt", ".hidden/d.wav", "loose.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_a_folder_is_read_in_order_and_the_first_subfolder_is_the_label(folder):
    manifest = read_manifest(folder)
    found = [(source.uri, source.label) for source in manifest]
    assert found == [("cat/deep/c.flac", "cat"), ("dog/a.ogg", "dog"), ("dog/b.wav", "dog"), ("loose.mp3", None)]
    assert manifest.path_of(manifest[0]) == folder / "cat/deep/c.flac"


def test_usual_column_names_are_guessed_and_told(folder):
    place = write(folder / "clips.csv", "filename,Category,speaker,fold\ndog/b.wav,bark,ann,1\nloose.mp3,noise,bob,2\n")
    manifest = read_manifest(place)
    assert manifest.columns == {"path": "filename", "label": "Category", "group": "speaker", "split": "fold"}
    assert manifest[0] == Source("dog/b.wav", label="bark", group="ann", split="1")


def test_named_columns_win_and_an_empty_name_ignores_one(folder):
    place = write(folder / "clips.csv", "path,label,kind,speaker\ndog/b.wav,x,bark,ann\n")
    manifest = read_manifest(place, label_column="kind", group_column="")
    assert (manifest[0].label, manifest[0].group) == ("bark", None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_bom_and_quoted_newlines(folder, delimiter):
    rows = [["path", "title", "label"], ["dog/b.wav", '"two\nlines"', "bark"]]
    place = write(folder / "clips.csv", "\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    assert [(source.uri, source.label) for source in read_manifest(place)] == [("dog/b.wav", "bark")]


def test_two_segments_of_one_file_are_two_clips(folder):
    place = write(folder / "clips.csv", "path,start,stop,label\ndog/b.wav,0,1.5,a\ndog/b.wav,1.5,,b\n")
    assert [source.id for source in read_manifest(place)] == ["dog/b.wav#0-1.5", "dog/b.wav#1.5-"]


def test_segments_of_a_long_file_have_names_of_their_own(folder):
    place = write(folder / "clips.csv", "path,start,stop\ndog/b.wav,36000.12,36001\ndog/b.wav,36000.14,36001\n")
    assert [source.id for source in read_manifest(place)] == ["dog/b.wav#36000.12-36001", "dog/b.wav#36000.14-36001"]


def test_empty_cells_beyond_the_header_say_nothing(folder):
    assert read_manifest(write(folder / "clips.csv", "path,label\ndog/b.wav,a,,\n"))[0].label == "a"


def test_repeated_rows_are_kept_once_and_counted(folder):
    manifest = read_manifest(write(folder / "clips.csv", "path,label\ndog/b.wav,a\n./dog/b.wav,a\n"))
    assert (len(manifest), manifest.n_repeats) == (1, 1)


def test_files_outside_the_root_keep_their_absolute_path(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.wav"
    elsewhere.write_bytes(b"x")
    assert read_manifest(write(folder / "clips.csv", f"path\n{elsewhere}\n"))[0].uri == elsewhere.as_posix()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "has a header but no rows"),
        ("name,label\na,b\n", r"has no path column \(its columns: name, label\): name it with --path-column"),
        ("path,label\n,dog\n", "row 2, column 'path': no path"),
        ("path,start\ndog/b.wav,soon\n", "row 2, column 'start': 'soon' is no number of seconds"),
        ("path,start,stop\ndog/b.wav,3,2\n", "row 2: the segment stops at 2 s, not after its start at 3 s"),
        ("path,start,stop\ndog/b.wav,2,2\n", "row 2: the segment stops at 2 s, not after its start at 2 s"),
        ("path,label\ndog/b.wav,a\nloose.mp3,b, c\n", r"row 3: ' c' stands beyond the 2 columns of the header. Write"),
        ("path,path\ndog/b.wav,loose.mp3\n", "has 2 columns 'path'"),
        ('{"path": "dog/b.wav", "label": "a"}\n', "looks like JSON: save it as CSV"),
        (f"path\n{'a' * 5000}.wav\n", "1 of 1 files are missing, the first is 'a{200}...'"),
        ("path,label\ndog/b.wav,a\ndog/b.wav,b\n", "is 'a' in row 2 and 'b' in row 3"),
        ("path\ndog/b.wav\nnowhere.wav\n", "1 of 2 files are missing, the first is 'nowhere.wav'"),
    ],
)
def test_a_bad_csv_is_one_clear_line(folder, text, message):
    place = write(folder / "clips.csv", text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(place)
    assert "\n" not in str(caught.value)
    assert str(place) in str(caught.value)


def test_a_misspelt_column_names_the_nearest(folder):
    place = write(folder / "clips.csv", "path,label\ndog/b.wav,a\n")
    with pytest.raises(ManifestError, match="unknown column 'labels': did you mean 'label'"):
        read_manifest(place, label_column="labels")


def test_text_that_is_not_utf8(folder):
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(write(folder / "clips.csv", "path\nb\xe4r.wav\n", encoding="latin-1"))


def test_nothing_there_an_empty_folder_and_one_file(tmp_path):
    with pytest.raises(ManifestError, match="no such file or folder"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="no audio file under"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="is one audio file"):
        read_manifest(write(tmp_path / "a.wav", "x"))
    with pytest.raises(ManifestError, match="no sources were named"):
        read_manifest("")  # not the current folder: a variable of a script that was never set
    with pytest.raises(ManifestError, match="is a device"):
        read_manifest("/dev/zero")
    with pytest.raises(ManifestError, match=r"no such file or folder: a{200}\.\.\."):
        read_manifest("a" * 5000)


def test_a_folder_has_no_columns_to_name(folder):
    with pytest.raises(ManifestError, match=r"is a folder and has no columns \(label = 'kind'\)"):
        read_manifest(folder, label_column="kind", group_column="")


def test_a_missing_file_can_be_left_to_the_extraction(folder):
    place = write(folder / "clips.csv", "path\nnowhere.wav\n")
    assert len(read_manifest(place, must_exist=False)) == 1


def test_file_names_that_are_no_text_are_left_out_with_a_warning(folder):
    (folder / "dog" / "b\udcff.wav").write_bytes(b"x")
    with pytest.warns(SkippedSourcesWarning, match="not UTF-8: 1 file"):
        assert len(read_manifest(folder)) == 4


def test_the_hash_changes_with_a_label_and_not_with_the_place(folder, tmp_path_factory):
    one = Manifest.from_paths(["a.wav"], labels=["x"], root=folder)
    other = Manifest.from_paths(["a.wav"], labels=["x"], root=tmp_path_factory.mktemp("other"))
    assert one.hash == other.hash != Manifest.from_paths(["a.wav"], labels=["y"], root=folder).hash


def test_paths_and_labels_must_match_in_number():
    with pytest.raises(ManifestError, match="2 paths but 1 labels"):
        Manifest.from_paths(["a", "b"], labels=["x"])


def test_one_path_is_no_list_of_paths(tmp_path):
    for path in ("a.wav", tmp_path / "a.wav"):
        with pytest.raises(ManifestError, match=r"paths is the one path .*a\.wav"):
            Manifest.from_paths(path)
    with pytest.raises(ManifestError, match="is not UTF-8"):
        Manifest.from_paths(["a.wav", "b\udcff.wav"])


def test_what_is_not_known_is_no_class_of_its_own():
    manifest = Manifest.from_paths(["a", "b", "c"], labels=["x", None, float("nan")], groups=[1, None, float("nan")])
    assert [(source.label, source.group) for source in manifest] == [("x", "1"), (None, None), (None, None)]


def test_labels_follow_the_clip_and_not_the_order():
    known = Manifest.from_paths(["a.wav", "b.wav"], labels=["x", "y"], root="/d")
    assert [source.label for source in with_labels([Source("b.wav"), Source("c.wav"), Source("a.wav")], known)] == [
        "y",
        None,
        "x",
    ]
