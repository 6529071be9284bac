"""One order for everything, slices without audio, and one line for labels that nothing can be learned from."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from embedx import Dataset, Manifest, Recipe, Source, inspect_data, load_embeddings
from embedx.dataset import build_dataset
from embedx.dataset.doubts import describe_doubts, describe_missing_groups
from embedx.dataset.loading import _relabelled
from embedx.errors import DatasetError, EmbedxWarning, SkippedSourcesWarning
from embedx.pooling import pool_windows
from embedx.store.rows import NO_STAMP, Embedded, Failure
from embedx.testing import make_dataset, make_store

RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="0" * 64, layers=(0, 3))


def embedded(name, label=None, *, value=0.0, n_windows=1, group=None):
    starts = np.arange(n_windows, dtype=float) * 10
    return Embedded(
        Source(name, label=label, group=group),
        NO_STAMP,
        np.full((n_windows, 2, 3), value, np.float32) + np.arange(n_windows, dtype=np.float32)[:, None, None],
        np.zeros((n_windows, 128), np.float32),
        starts,
        starts + 10,
    )


def dataset_of(labels, groups=None):
    groups = groups or [None] * len(labels)
    results = [
        embedded(f"{i}.wav", label, value=i, group=group)
        for i, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    return build_dataset(results, recipe=RECIPE, root="/data")


def test_a_slice_keeps_everything_in_one_order():
    taken = dataset_of(["a", "b", "c"], ["x", "y", "z"]).take([2, 0])
    assert taken.y.tolist() == ["c", "a"]
    assert taken.groups.tolist() == ["z", "x"]
    assert taken.X[:, 0].tolist() == [2.0, 0.0]
    assert [source.uri for source in taken.sources] == ["2.wav", "0.wav"]


def test_x_is_layer_after_layer():
    dataset = dataset_of(["a", "b"])
    assert (dataset.X.shape, dataset.n_layers, dataset.dim, dataset.layers) == ((2, 6), 2, 3, (0, 3))


def test_the_one_branch_gives_each_head_what_it_eats():
    dataset = dataset_of(["a", "b"])
    assert dataset.inputs_for(SimpleNamespace(input_kind="embeddings")) is dataset.X
    assert dataset.inputs_for(SimpleNamespace(input_kind="control")) is dataset.control
    sources = dataset.inputs_for(SimpleNamespace(input_kind="sources"))
    assert [source.uri for source in sources] == ["/data/0.wav", "/data/1.wav"]


def test_failures_are_left_out_and_said():
    results = [embedded("a.wav", "x"), Failure(Source("b.wav"), NO_STAMP, "decode", "no audio")]
    with pytest.warns(SkippedSourcesWarning, match="1 of 2 clips"):
        assert len(build_dataset(results, recipe=RECIPE, root="/d")) == 1
    with pytest.raises(DatasetError, match="all 1 clips failed"):
        build_dataset(results[1:], recipe=RECIPE, root="/d")


def test_windows_are_pooled_to_clips():
    results = [embedded("a.wav", "x", n_windows=3), embedded("b.wav", "y", value=7)]
    dataset = build_dataset(results, recipe=RECIPE, root="/d")
    assert dataset.X[:, 0].tolist() == [1.0, 7.0]
    assert dataset.seconds.tolist() == [30.0, 10.0]


def test_overlap_is_not_counted_twice():
    rows = np.array([[[0.0]], [[3.0]]], np.float32)
    x, _, seconds = pool_windows(
        rows, np.zeros((2, 2), np.float32), np.array([0.0, 5.0]), np.array([10.0, 15.0]), np.array([2]), pooling="mean"
    )
    assert x[0, 0] == pytest.approx(1.0)
    assert seconds[0] == 15.0


def test_moments_are_those_of_the_whole_clip():
    rng = np.random.default_rng(0)
    halves = rng.normal(size=(2, 500)), rng.normal(3.0, 2.0, size=(2, 500))
    rows = np.stack([np.concatenate([h.mean(1), h.std(1)]) for h in halves])[:, None].astype(np.float32)
    bounds = np.array([0.0, 10.0]), np.array([10.0, 20.0])
    x, control, _ = pool_windows(rows, rows[:, 0], *bounds, np.array([2]), pooling="mean+std")
    whole = np.concatenate(halves, axis=1)
    expected = np.concatenate([whole.mean(1), whole.std(1)])
    np.testing.assert_allclose(x[0], expected, rtol=1e-5)
    np.testing.assert_allclose(control[0], expected, rtol=1e-5)


def with_files(rows):
    """A dataset of (file, group, byte of its content) rows; segments of one file in turn."""
    results = [embedded(f"clip{i}", "a") for i in range(len(rows))]
    dataset = build_dataset(results, recipe=RECIPE, root="/data")
    sources = tuple(Source(uri, group=group, start_seconds=float(i)) for i, (uri, group, _) in enumerate(rows))
    hashes = np.array([[content] * 32 for _, _, content in rows], dtype=np.uint8)
    return replace(dataset, sources=sources, hashes=hashes)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([("a", None, 1), ("b", None, 2)], None),
        ([("a", "g", 1), ("b", None, 2), ("c", None, 3)], ["g", "b", "c"]),
        ([("a", None, 1), ("a", None, 1), ("b", None, 2)], ["a", "a", "b"]),
        ([("a", None, 1), ("copy", None, 1), ("b", None, 2)], ["a", "a", "b"]),
        ([("a", None, 0), ("b", None, 0), ("a", None, 0)], ["a", "b", "a"]),  # contents unknown
        ([("a", "g", 1), ("a", None, 1), ("copy", None, 1)], ["g", "g", "g"]),
        ([("a", "g", 1), ("a", "h", 1), ("a", None, 1)], ["g", "h", "a"]),  # two speakers in one file stay apart
        ([("copy", None, 1), ("a", "g", 1), ("b", "h", 2)], ["g", "g", "h"]),
    ],
)
def test_a_group_is_the_named_one_else_the_file(rows, groups):
    found = with_files(rows).groups
    assert (None if found is None else found.tolist()) == groups


def test_missing_groups_are_counted():
    told = describe_missing_groups(dataset_of(["a", "b", "b"], ["g", None, None]))
    assert told.startswith("2 of 3 clips have no group")
    assert not describe_missing_groups(dataset_of(["a", "b"]))
    assert not describe_missing_groups(dataset_of(["a", "b"], ["g", "h"]))


@pytest.mark.parametrize("other", ["1.0", "01", " 1"])
def test_a_group_that_is_written_in_two_ways_is_told(other):
    told = describe_doubts(dataset_of(["a", "b", "b"], ["1", other, "2"]))
    assert len(told) == 1
    assert told[0].startswith("2 groups differ only in how they are written (")
    assert not describe_doubts(dataset_of(["a", "b"], ["1", "10"]))


def test_labels_and_folds_that_are_written_in_two_ways_are_told():
    dataset = dataset_of(["Dog", "dog", "cat"])
    assert "one class is learned as several" in describe_doubts(dataset)[0]
    parts = [replace(s, label=None, split=name) for s, name in zip(dataset.sources, ["1", "1.0", "2"], strict=True)]
    assert "clips of one part or fold" in describe_doubts(dataset.with_sources(parts))[0]
    parts = [replace(s, split=name) for s, name in zip(parts, ["Train", "train", "test"], strict=True)]
    assert not describe_doubts(dataset.with_sources(parts))


def test_segments_that_are_longer_than_their_files_are_told():
    dataset = replace(dataset_of(["a", "b", "b", "a"]), seconds=np.array([2.0, 10.0, 0.9, 4.0]))
    stops = [3.0 + 17, 10.2, 1.0, None]
    sources = [replace(s, stop_seconds=stop) for s, stop in zip(dataset.sources, stops, strict=True)]
    (told,) = told_of(dataset, sources)
    assert told.startswith("1 segment of 4 ended with the file, before the stop (the first, 0.wav#0-20, after 2.0 of")
    long = replace(dataset, recipe=dataset.recipe.replace(max_seconds=2.0))
    assert not told_of(long, sources)


def test_a_recording_that_groups_cut_apart_is_told():
    rows = [("a.wav", 0.0, "anna"), ("a.wav", 1.0, "bert"), ("b.wav", 0.0, "anna"), ("b.wav", 1.0, "anna")]
    sources = [Source(uri, label="x", group=group, start_seconds=start) for uri, start, group in rows]
    (told,) = told_of(dataset_of(["x"] * 4), sources)
    assert told.startswith("1 file with clips of several groups (the first, a.wav: 'anna', 'bert'): one recording may")
    assert not told_of(dataset_of(["x"] * 4), [replace(source, group="anna") for source in sources])


def told_of(dataset, sources):
    return describe_doubts(replace(dataset, sources=tuple(sources)))


def test_clips_without_a_label_are_left_out_and_said():
    with pytest.warns(SkippedSourcesWarning, match="1 of 3 clips have no label"):
        assert dataset_of(["a", None, "b"]).labelled().y.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None, None], "none of the 2 clips has a label"),
        (["a", "a"], "every clip is labelled 'a'"),
        (["a", "a", "b"], r"a class needs at least 2 clips, these have fewer: 'b' \(1\)"),
    ],
)
def test_labels_that_nothing_can_be_learned_from(labels, message):
    with pytest.raises(DatasetError, match=message):
        dataset_of(labels).require_learnable()


def test_balancing_draws_the_same_number_and_the_same_clips():
    dataset = dataset_of(["a"] * 9 + ["b"] * 5)
    drawn = dataset.balanced(4, seed=1)
    assert sorted(drawn.y.tolist()) == ["a"] * 4 + ["b"] * 4
    assert drawn.sources == dataset.balanced(4, seed=1).sources != dataset.balanced(4, seed=2).sources
    with pytest.raises(DatasetError, match="class 'b' has 5 clips, 6 were asked for"):
        dataset.balanced(6)


def test_other_labels_must_be_for_the_same_clips():
    dataset = dataset_of(["a", "b"])
    renamed = dataset.with_sources([Source("0.wav", label="x"), Source("1.wav", label="y")])
    assert renamed.y.tolist() == ["x", "y"]
    with pytest.raises(DatasetError, match="not the same clips"):
        dataset.with_sources([Source("1.wav"), Source("0.wav")])


def test_groups_that_new_labels_leave_out_are_told():
    dataset = dataset_of(["a", "b"], ["g", "h"])
    paths = [source.uri for source in dataset.sources]
    labels = Manifest.from_paths(paths, labels=["x", "y"], root=dataset.root)
    with pytest.warns(EmbedxWarning, match=r"labels have no group, and what the store knows of it \(2 groups\) is not"):
        assert _relabelled(dataset, labels).groups is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = Manifest.from_paths(paths, labels=["x", "y"], groups=["1", "2"], root=dataset.root)
        assert _relabelled(dataset, known).groups.tolist() == ["1", "2"]


def test_repr_says_what_is_inside():
    assert repr(dataset_of(["a", "b"])) == "Dataset(2 clips, 2 layers x 3, 2 classes, encoder='tiny')"
    assert isinstance(dataset_of(["a"]), Dataset)
    assert Manifest.from_paths([]).sources == ()


def test_labelled_clips_are_not_copied_when_nothing_is_left_out(make_dataset):
    dataset = make_dataset()
    assert dataset.labelled().X is dataset.X


def test_several_labels_a_clip_are_a_matrix_of_sets():
    dataset = make_dataset(n=4).relabel(["b|a", "a", "|", "c|a|a"])
    assert dataset.label_separator is None
    sets = dataset.multi_label()
    assert sets.classes == ("a", "b", "c")
    assert sets.Y.dtype == bool
    assert sets.Y.astype(int).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert [source.label for source in sets.sources] == ["a|b", "a", "|", "a|c"]
    assert sets.take([1]).classes == ("a",)
    assert sets.take([1]).label_matrix(["c", "a"]).tolist() == [[False, True]]
    assert "3 classes, several a clip" in repr(sets)


def test_sets_survive_a_store_and_its_format_knows_nothing_of_them(tmp_path):
    labels = ["b|a", "a", "|", "c|b"] * 3
    store = make_store(tmp_path / "emb.h5", make_dataset(n=12).relabel(labels).multi_label())
    plain = load_embeddings(store)
    sets = load_embeddings(store, label_separator="|")
    assert plain.label_separator is None
    assert sorted({str(source.label) for source in plain.sources}) == ["a", "a|b", "b|c", "|"]
    assert sets.Y.sum(0).tolist() == [6, 6, 3]
    assert any("--label-separator" in told for told in describe_doubts(plain))
    assert not any("--label-separator" in told for told in describe_doubts(sets))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["|"] * 4, "the labels name no class"),
        (["a", "a", "|", "|"], "the labels name the one class 'a'"),
        (["a|b", "a|b", "a", "a"], "every clip has the class 'a'"),
        (["a|b", "a", "|", "c"], r"at least 2 clips, these have fewer: 'b' \(1\), 'c' \(1\)"),
    ],
)
def test_sets_that_cannot_be_learned_are_one_clear_line(labels, message):
    with pytest.raises(DatasetError, match=message):
        make_dataset(n=4).relabel(labels).multi_label().require_learnable()


def test_what_takes_one_label_a_clip_refuses_sets():
    dataset = make_dataset(n=12).relabel(["a|b", "a", "b"] * 4).multi_label()
    with pytest.raises(DatasetError, match="takes one label a clip, and these labels are sets"):
        dataset.balanced(2)
    assert inspect_data(dataset, audio=False)["labels"].text.startswith("A clip may have several labels")
