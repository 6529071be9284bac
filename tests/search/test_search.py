"""The nearest clips of a store: exact, without the query itself, and by the store's own recipe."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from embedx import extract_embeddings, load_embeddings, read_manifest, search_store
from embedx.cli import main
from embedx.errors import DatasetError, ParameterError, StoreError
from embedx.search.similarity import Similarity
from embedx.testing import make_store, make_tone, write_wav


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_dataset):
    """Sixty made-up clips, every fourth without a label."""
    dataset = make_dataset(gap=4.0)
    some = tuple(replace(s, label=None) if i % 4 == 0 else s for i, s in enumerate(dataset.sources))
    return make_store(tmp_path_factory.mktemp("search") / "emb.h5", replace(dataset, sources=some))


@pytest.fixture(scope="module")
def tones(tmp_path_factory, tone_folder):
    place = tmp_path_factory.mktemp("tones") / "emb.h5"
    extract_embeddings(read_manifest(tone_folder), place, encoder="tiny")
    return place


@pytest.mark.parametrize("standardized", [True, False])
def test_it_is_the_order_of_all_similarities(store, standardized):
    dataset = load_embeddings(store, layers=[1])
    values = np.asarray(dataset.X, np.float64)
    if standardized:
        values = (values - values.mean(axis=0)) / values.std(axis=0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    expected = values @ values[7]
    hits = search_store(store, "clip_0007.wav", k=100, layers=[1], standardized=standardized)
    assert [hit.rank for hit in hits] == list(range(1, 60))
    rows = [int(hit.source.uri[5:9]) for hit in hits]
    np.testing.assert_allclose([hit.similarity for hit in hits], expected[rows], atol=1e-4)
    assert sorted(rows) == sorted(set(range(60)) - {7})
    assert (np.diff([hit.similarity for hit in hits]) <= 0).all()


def test_many_rows_are_compared_in_blocks_with_one_answer():
    values = np.random.default_rng(0).normal(size=(20_000, 5)).astype(np.float32) + 3
    similarity = Similarity.of(values, standardized=True)
    np.testing.assert_allclose(similarity.mean, values.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(similarity.scale, values.std(axis=0, dtype=np.float64))
    found = similarity.to(similarity.direction(values[:1]), values)
    np.testing.assert_array_equal(found[19_000:], similarity.to(similarity.direction(values[:1]), values[19_000:]))


def test_columns_that_never_change_and_empty_rows_have_a_similarity():
    values = np.array([[0, 5], [0, 5], [1, 5]], dtype=np.float32)
    for standardized in (True, False):
        similarity = Similarity.of(values, standardized=standardized)
        assert np.isfinite(similarity.to(similarity.direction(values), values)).all()


def test_a_label_finds_others_those_without_a_label_first(store):
    hits = search_store(store, label="class 1", k=100, layers=[1])
    given = [hit.source.label for hit in hits]
    n_none = given.count(None)
    assert n_none == 15
    assert set(given[:n_none]) == {None}
    assert "class 1" not in given
    assert {int(hit.source.uri[5:9]) % 3 for hit in hits[:5]} == {1}


def test_a_clip_of_the_store_is_found_by_its_path_and_the_same_bytes_elsewhere_are_embedded(
    tones, tone_folder, tmp_path
):
    inside = search_store(tones, tone_folder / "high" / "0.wav", k=5)
    assert {hit.source.label for hit in inside} == {"high"}
    assert [hit.source.uri for hit in search_store(tones, "high/0.wav", k=5)] == [hit.source.uri for hit in inside]
    (tmp_path / "copy.wav").write_bytes((tone_folder / "high" / "0.wav").read_bytes())
    first, *others = search_store(tones, tmp_path / "copy.wav", k=6)
    assert first.source.uri == "high/0.wav"
    assert first.similarity == pytest.approx(1.0, abs=1e-3)
    assert [hit.source.uri for hit in others] == [hit.source.uri for hit in inside]


def test_a_file_that_changed_is_embedded_anew(tone_folder, tmp_path):
    for name in ("high", "low"):
        for i in range(3):
            (tmp_path / f"{name}{i}.wav").write_bytes((tone_folder / name / f"{i}.wav").read_bytes())
    extract_embeddings(read_manifest(tmp_path), tmp_path / "emb.h5", encoder="tiny")
    write_wav(str(tmp_path / "high0.wav"), make_tone(200.0, noise=0.05))
    assert search_store(tmp_path / "emb.h5", tmp_path / "high0.wav", k=1)[0].source.uri.startswith("low")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "one of the two"),
        ({"query": "clip_0007.wav", "label": "class 1"}, "one of the two"),
        ({"query": "nowhere.wav"}, "nowhere.wav does not exist, and is no clip of the store"),
        ({"query": "/tmp"}, "is a folder"),
        ({"label": "clas 1"}, "did you mean 'class 1'"),
        ({"query": "clip_0007.wav", "k": 0}, "k=0"),
    ],
)
def test_what_cannot_be_searched_is_one_line(store, options, told):
    with pytest.raises(ParameterError, match=told):
        search_store(store, **options)


def test_a_file_that_is_no_audio_and_a_layer_that_is_not_there(tones, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    with pytest.raises(DatasetError, match="the query cannot be embedded"):
        search_store(tones, tmp_path / "bad.wav")
    with pytest.raises((StoreError, ParameterError)):
        search_store(tones, "high/0.wav", layers=[99])


def test_a_store_of_one_clip_finds_nothing(make_dataset, tmp_path, capsys):
    place = make_store(tmp_path / "emb.h5", make_dataset(n=1))
    assert search_store(place, "clip_0000.wav") == ()
    assert main(["search", str(place), "clip_0000.wav"]) == 0
    assert "no other clip" in capsys.readouterr().out


def test_the_table_the_lines_and_the_file(store, tmp_path, capsys):
    assert main(["search", str(store), "clip_0007.wav", "-k", "2", "--layers", "1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["rank", "similarity", "path", "label"]
    assert len(table) == 3
    words = ["search", str(store), "--label", "class 1", "-k", "3", "--json", "--csv", str(tmp_path / "rows.csv")]
    for _ in range(2):  # an earlier result is replaced
        assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert list(rows[0]) == ["rank", "similarity", "path", "start", "stop", "label"]
    assert [row["path"] for row in rows] == [line["path"] for line in lines[:3]]
    assert lines[0]["label"] is None


@pytest.mark.parametrize("words", [["clip_0007.wav", "--csv", "EMB"], [], ["clip_0007.wav", "--label", "class 1"]])
def test_bad_usage_is_exit_code_2(store, words, capsys):
    before = store.read_bytes()
    assert main(["search", str(store), *(str(store) if word == "EMB" else word for word in words)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert store.read_bytes() == before
