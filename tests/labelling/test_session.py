"""A labelling session: what is on disk, what two pages may do to each other, and what is said of the head."""

import csv
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx import load_embeddings, read_manifest
from embedx.errors import ParameterError
from embedx.labelling import AnsweredElsewhereError, LabelFile, LabellingSession
from embedx.labelling.answers import Answers, clean_label
from embedx.testing import make_dataset, make_store


@pytest.fixture
def clips():
    """Sixty clips without labels, some of them segments of files."""
    dataset = make_dataset(gap=4.0)
    return dataset.with_sources([replace(source, label=None) for source in dataset.sources])


TRUTH = [source.label for source in make_dataset(gap=4.0).sources]


def label(session, n, *, learn_every=4, truth=TRUTH):
    """Label so many clips more, by the truth; labels that are asked about again are kept."""
    wanted = session.progress().n_labels + n
    while session.progress().n_labels < wanted:
        question = session.question("a")
        session.answer("a", question.row, question.label or truth[question.row], seen=question.label)
        if session.progress().n_labels % learn_every == 0:
            session.learn()


def test_labels_are_read_by_every_command_that_reads_labels(clips, tmp_path):
    segments = [
        replace(source, uri=f"long {i // 2}.wav", start_seconds=1.5 * (i % 2), stop_seconds=1.5 * (i % 2) + 1.25)
        if i < 20
        else replace(source, uri=f"sub/clip, {i}.wav", group=f"speaker {i % 4}", split="train")
        for i, source in enumerate(clips.sources)
    ]
    dataset = replace(clips, sources=tuple(segments), root=str(tmp_path / "audio"))
    store = make_store(tmp_path / "emb.h5", dataset)
    dataset = load_embeddings(store)
    with LabelFile(tmp_path / "labels.csv", dataset) as file:
        session = LabellingSession(dataset, file)
        label(session, 30, learn_every=10)
        given = dict(session._answers.labels)
    read = load_embeddings(store, labels=tmp_path / "labels.csv")
    assert {i: source.label for i, source in enumerate(read.sources) if source.label} == given
    kept = [(source.group, source.split) for source in dataset.sources]
    assert [kept[i] for i in given] == [(read.sources[i].group, read.sources[i].split) for i in given]
    assert all(not row["path"].startswith("/") for row in read_rows(tmp_path / "labels.csv"))


def test_started_again_it_goes_on_and_the_curve_is_drawn_anew(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        label(session, 40)
        before, curve = dict(session._answers.labels), session.progress().curve
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        again = LabellingSession(clips, file)
        assert dict(again._answers.labels) == before
        again.learn()
        while again._past:
            again._learn_past(again._past.pop())
        points = {point.n_labels: point for point in again.progress().curve}
        known = {point.n_labels: point for point in curve}
        both = points.keys() & known.keys()
        assert len(both) >= 4
        assert [points[n].n_judged for n in both] == [known[n].n_judged for n in both]
        assert max(abs(points[n].accuracy - known[n].accuracy) for n in both) < 0.1  # classes are in another order
        question = again.question("a")
        assert question.row not in before


def test_the_curve_says_what_it_is_and_grows(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        label(session, 4)
        assert session.progress().curve == ()
        label(session, 46, learn_every=5)
        progress = session.progress()
        last = progress.curve[-1]
        assert (progress.n_labels, progress.n_clips, last.n_labels) == (50, 60, 50)
        assert last.accuracy > 0.8 > last.majority
        assert last.interval[0] < last.accuracy < last.interval[1] + 1e-9
        assert last.n_judged >= 10
        assert [point.n_labels for point in progress.curve] == sorted({point.n_labels for point in progress.curve})


def test_of_a_single_group_nothing_is_said(clips, tmp_path):
    dataset = clips.with_sources([replace(source, group="anna") for source in clips.sources])
    with LabelFile(tmp_path / "labels.csv", dataset) as file:
        session = LabellingSession(dataset, file)
        label(session, 30, learn_every=15)
        assert (session.progress().n_folds, session.progress().curve) == (1, ())
        assert session.question("a") is not None


def test_labels_without_meaning_are_not_called_good(clips, tmp_path):
    rng = np.random.default_rng(0)
    nonsense = [f"class {i}" for i in rng.integers(0, 2, len(clips))]
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        label(session, 60, learn_every=10, truth=nonsense)
        last = session.progress().curve[-1]
        assert last.n_judged == 60
        assert last.interval[0] < 0.5


def test_a_wrong_label_is_asked_about_and_can_be_kept_or_changed(clips, tmp_path):
    wrong = list(TRUTH)
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        first = session.question("a").row
        wrong[first] = next(name for name in TRUTH if name != TRUTH[first])
        asked = []
        for _ in range(50):
            question = session.question("a")
            if question.why == "suspect":
                asked.append(question)
                assert question.guesses is not None
                session.answer("a", question.row, question.label, seen=question.label)
            else:
                session.answer("a", question.row, wrong[question.row], seen=None)
            if session.progress().n_labels % 5 == 0:
                session.learn()
        rows = [question.row for question in asked]
        assert first in rows
        assert len(set(rows)) == len(rows)  # what was kept is not asked again
        assert next(question for question in asked if question.row == first).label == wrong[first]


def test_the_guess_is_hidden_where_the_head_is_judged(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        seen = set()
        for _ in range(40):
            question = session.question("a")
            seen.add((question.why, question.guesses is None))
            session.answer("a", question.row, TRUTH[question.row], seen=question.label)
            if session.progress().n_labels % 5 == 0:
                session.learn()
        assert ("random", True) in seen
        assert ("random", False) not in seen
        assert ("uncertain", False) in seen
        shares = [share for _, share in session.question("a").guesses or ()]
        assert shares == sorted(shares, reverse=True)


def test_two_pages_are_asked_different_clips_and_cannot_overwrite_each_other(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        one, other = session.question("a"), session.question("b")
        assert one.row != other.row
        assert session.question("a") == one
        session.answer("b", one.row, "dog", seen=None)
        with pytest.raises(AnsweredElsewhereError, match="'dog'"):
            session.answer("a", one.row, "cat", seen=None)
        assert session.question("a").row != one.row
        session.answer("a", one.row, "cat", seen="dog")
        with pytest.raises(AnsweredElsewhereError, match="another page"):
            session.undo("b")
        assert session.undo("b") is None
        assert session.undo("a").row == one.row
        assert session._answers.labels == {one.row: "dog"}


def test_many_threads_lose_nothing(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file, LabellingSession(clips, file) as session:
        given = []

        def work(tab):
            for _ in range(10):
                question = session.question(tab)
                session.answer(tab, question.row, TRUTH[question.row], seen=question.label)
                given.append(question.row)

        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = read_manifest(tmp_path / "labels.csv", must_exist=False)
    assert len(given) == 40
    assert {source.uri.rpartition("/")[2]: source.label for source in written} == {
        clips.sources[row].uri: TRUTH[row] for row in given
    }


def test_skip_and_undo(clips, tmp_path):
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        assert session.undo("a") is None
        first = session.question("a")
        session.skip("a", first.row)
        second = session.question("a")
        assert second.row != first.row
        session.answer("a", second.row, "dog", seen=None)
        assert session.undo("a") == second
        assert session.question("a") == second
        assert (session.progress().n_labels, session.progress().n_passed) == (0, 1)
        assert read_rows(tmp_path / "labels.csv") == []
        for _ in range(59):
            session.skip("a", session.question("a").row)
        assert session.question("a") is None
        with pytest.raises(ParameterError, match="no clip 60"):
            session.answer("a", 60, "dog", seen=None)


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_labels_that_were_known_before_are_written_too(tmp_path):
    dataset = make_dataset(n=12)
    some = [source if i < 6 else replace(source, label=None) for i, source in enumerate(dataset.sources)]
    dataset = dataset.with_sources(some)
    with LabelFile(tmp_path / "labels.csv", dataset) as file:
        session = LabellingSession(dataset, file, classes=["new", "class 1"])
        assert session.classes == ("new", "class 1", "class 0", "class 2")
        row = session.question("a").row
        assert row >= 6
        session.answer("a", row, "new", seen=None)
    assert [line["label"] for line in read_rows(tmp_path / "labels.csv")] == [s.label for s in some[:6]] + ["new"]


def test_rows_of_other_clips_are_kept(clips, tmp_path):
    (tmp_path / "labels.csv").write_text("path,start,stop,label\nelsewhere.wav,1,2,dog\n/data/clip_0000.wav,,,cat\n")
    with LabelFile(tmp_path / "labels.csv", clips) as file:
        session = LabellingSession(clips, file)
        assert session._answers.labels == {0: "cat"}
        label(session, 1)
    rows = read_rows(tmp_path / "labels.csv")
    assert (rows[0]["path"], rows[0]["start"], rows[0]["label"]) == ("elsewhere.wav", "1", "dog")
    assert len(rows) == 3


def test_what_a_file_knows_beyond_the_store_is_kept(tmp_path):
    dataset = make_dataset(n=4, groups=False)
    dataset = dataset.with_sources([replace(source, label=None) for source in dataset.sources])
    rows = ["/data/clip_0002.wav,,,dog,anna", "/data/clip_0001.wav,,,,berta"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,start,stop,label,group", *rows, ""]))
    with LabelFile(tmp_path / "labels.csv", dataset) as file:
        file.write({**file.labels, 3: "cat"})
        assert (tmp_path / "labels.csv").read_text().split() == [
            "path,start,stop,label,group",
            rows[0],
            "/data/clip_0003.wav,,,cat,",
            rows[1],
        ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"RIFF1234WAVE", "another kind"),
        (b"\x89HDF\r\n\x1a\n", "another kind"),
        (b"path,start,stop,label,note\na.wav,,,dog,mine\n", "the column 'note', which would be lost"),
    ],
)
def test_a_file_of_another_kind_is_left_alone(clips, tmp_path, content, says):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ParameterError, match=says):
        LabelFile(tmp_path / "labels.csv", clips)
    assert (tmp_path / "labels.csv").read_bytes() == content


def test_one_process_writes_at_a_time(clips, tmp_path):
    store = make_store(tmp_path / "emb.h5", clips)
    code = (
        "import sys; from embedx import load_embeddings; from embedx.labelling import LabelFile\n"
        "try: LabelFile(sys.argv[2], load_embeddings(sys.argv[1]))\n"
        "except Exception as error: print(error)"
    )
    words = [sys.executable, "-c", code, store, tmp_path / "labels.csv"]
    with LabelFile(tmp_path / "labels.csv", clips):
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "another embedx label writes it" in done.stdout
    assert list(tmp_path.glob(".*lock")) == []
    with LabelFile(tmp_path / "labels.csv", clips):
        pass


def test_what_cannot_be_written_changes_nothing(clips, tmp_path):
    class Full:
        def __init__(self):
            self.labels = {}

        def write(self, labels):
            raise OSError(28, "No space left on device")

    session = LabellingSession(clips, Full())
    row = session.question("a").row
    with pytest.raises(OSError, match="No space"):
        session.answer("a", row, "dog", seen=None)
    assert session._answers.labels == {}
    assert session.question("a").row == row
    assert session.classes == ()


NAMES = st.text(max_size=12)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4), NAMES, st.booleans()), max_size=30))
@settings(max_examples=50)
def test_what_is_kept_is_what_was_answered_and_undo_goes_back(steps):
    """Whatever two pages do, the keeper holds the labels, and undoing everything leaves none."""
    kept = {}

    class Keeper:
        def write(self, labels):
            kept.clear()
            kept.update(labels)

    answers = Answers({}, Keeper())
    for tab, row, name, is_stale in steps:
        seen = None if is_stale else answers.labels.get(row)
        try:
            answers.give(tab, row, name, seen=seen)
        except AnsweredElsewhereError:
            assert is_stale
        except ParameterError:
            pass
        else:
            assert kept[row] == clean_label(name)
        assert kept == answers.labels
        assert set(kept.values()) <= set(answers.classes)


@given(NAMES.filter(lambda text: text.strip()))
def test_a_label_is_read_back_as_it_was_written(tmp_path_factory, name):
    dataset = make_dataset(n=2)
    dataset = dataset.with_sources([replace(source, label=None) for source in dataset.sources])
    try:
        told = clean_label(name)
    except ParameterError:
        return
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with LabelFile(path, dataset) as file:
        file.write({1: told})
    with LabelFile(path, dataset) as file:
        assert file.labels == {1: told}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\u202edog", "x" * 1001])
def test_what_is_no_label(name):
    with pytest.raises(ValueError, match="label"):
        clean_label(name)


def test_a_class_is_spelt_in_one_way():
    answers = Answers({0: "dog bark"}, None)
    with pytest.raises(ParameterError, match="'dog bark' written in another way"):
        answers.give("a", 1, "Dog_Bark", seen=None)
    with pytest.raises(ParameterError, match="written in another way"):
        Answers({0: "dog"}, None, classes=["Dog"])
    with pytest.raises(ParameterError, match="twice"):
        Answers({}, None, classes=["dog", "dog"])
