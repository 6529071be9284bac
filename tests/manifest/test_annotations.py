"""Raven selection tables and Audacity label files are manifests, if it can be known which recording they are of."""

import pytest

from embedx import read_manifest
from embedx.errors import EmbedxWarning, ManifestError

HEADER = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav", "rec1.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def table(place, columns, *rows):
    place.write_text("\n".join("\t".join(map(str, row)) for row in ([*HEADER, *columns], *rows)) + "\n")
    return place


def row(number, begin, end, *more, view="Spectrogram 1"):
    return [number, view, 1, begin, end, 100, 8000, *more]


def found(manifest):
    return [(source.id, source.label, source.group) for source in manifest]


def test_a_selection_table_counts_from_the_beginning_of_each_file(folder):
    rows = [
        row(1, 0.5, 1.5, "a.wav", 0.5, "robin", view="Waveform 1"),
        row(1, 0.5, 1.5, "a.wav", 0.5, "robin"),
        row(2, 61.1, 62.3, "b.wav", 1.1, "tit"),
    ]
    manifest = read_manifest(table(folder / "t.txt", ["Begin File", "File Offset (s)", "Annotation"], *rows))
    assert found(manifest) == [("a.wav#0.5-1.5", "robin", None), ("b.wav#1.1-2.3", "tit", None)]
    assert manifest.n_repeats == 1


def test_times_over_several_files_without_an_offset_are_a_warning(folder):
    rows = [row(1, 0.5, 1.5, "C:\\my data\\a.wav", "robin"), row(2, 1, 2, "C:\\my data\\b.wav", 'tit "loud')]
    with pytest.warns(EmbedxWarning, match="no column 'File Offset"):
        manifest = read_manifest(table(folder / "t.txt", ["Begin Path", "Species"], *rows))
    assert found(manifest) == [("a.wav#0.5-1.5", "robin", None), ("b.wav#1-2", 'tit "loud', None)]


def test_a_table_that_names_no_recording_is_of_the_one_of_its_name(folder):
    place = table(folder / "rec1.Table.1.selections.txt", ["Annotation"], row(1, 0.5, 1.5, "robin"))
    assert found(read_manifest(place)) == [("rec1.wav#0.5-1.5", "robin", None)]
    other = table(folder / "else.selections.txt", ["Annotation"], row(1, 0.5, 1.5, "robin"))
    with pytest.raises(ManifestError, match=r"its recordings are not known.*none lies beside it.*else\.wav"):
        read_manifest(other)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_label_file_is_of_the_recording_beside_it(folder, end):
    lines = ["0.500000\t1.500000\tdog", "\\\t100.0\t2000.0", "2,0\t3,5\tbig cat", "4\t5\t"]
    (folder / "rec1.txt").write_bytes(end.join([*lines, ""]).encode())
    assert found(read_manifest(folder / "rec1.txt")) == [
        ("rec1.wav#0.5-1.5", "dog", None),
        ("rec1.wav#2-3.5", "big cat", None),
        ("rec1.wav#4-5", None, None),
    ]


def test_a_label_file_without_a_recording_or_with_two_says_so(folder):
    (folder / "labels.txt").write_text("0.5\t1.5\tdog\n")
    with pytest.raises(ManifestError, match=r"does not say which recording.*none lies beside it"):
        read_manifest(folder / "labels.txt")
    (folder / "rec1.flac").write_bytes(b"x")
    (folder / "rec1.txt").write_text("0.5\t1.5\tdog\n")
    with pytest.raises(ManifestError, match=r"several lie beside it \(rec1.flac, rec1.wav\)"):
        read_manifest(folder / "rec1.txt")


def test_a_point_is_no_segment(folder):
    (folder / "rec1.txt").write_text("0.5\t1.5\tdog\n2\t2\tcat\n")
    with pytest.raises(ManifestError, match="row 2: the segment stops at 2 s, not after its start at 2 s"):
        read_manifest(folder / "rec1.txt")
