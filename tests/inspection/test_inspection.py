"""Planted faults in real recordings are found, and clean data is called clean."""

import json
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.naive_bayes import BernoulliNB

from embedx.errors import DatasetError, ParameterError
from embedx.inspection import inspect_data
from embedx.inspection.duplicates import views
from embedx.inspection.model_based import _class_of_groups, find_confounds
from embedx.inspection.near_duplicates import close_pairs, usual_distance


@pytest.fixture(scope="module")
def found(faulty):
    return inspect_data(faulty)


def test_an_exact_copy_is_found_with_what_it_crosses(found):
    copies = found["copies"]
    assert copies.level == "bad"
    assert copies.items == ("baby_cry0.wav [baby_cry] and copy.wav [dog_bark] (crosses class, group)",)
    assert "carry two labels" in copies.text


def test_a_reencoded_copy_is_found_as_near(found):
    assert any("rooster3.wav" in item and "again.ogg" in item for item in found["near_copies"].items)
    assert not any("copy.wav" in item for item in found["near_copies"].items)


def test_loudness_does_not_hide_a_copy_from_log_mel(faulty):
    control = faulty.control.copy()
    control[::2, :64] -= 1.4  # every second clip about 6 dB quieter, in nepers of power
    assert views(replace(faulty, control=control))[1] == pytest.approx(views(faulty)[1], abs=1e-4)


def test_a_clip_that_the_encoder_alone_knows_again_is_a_near_copy(faulty):
    dataset = faulty.take([*range(48), 5])
    odd = dataset.control.copy()
    odd[48] = np.random.default_rng(0).normal(size=128)
    hashes = dataset.hashes.copy()
    hashes[48] = 7
    found = inspect_data(replace(dataset, control=odd, hashes=hashes), audio=False)["near_copies"]
    assert len(found.items) == 1


def test_planted_wrong_labels_are_suspected_first(faulty):
    dataset = faulty.take(np.arange(48))
    planted = {"baby_cry3.wav", "baby_cry6.wav", "rooster5.wav", "rooster9.wav"}
    wrong = [replace(s, label="dog_bark") if s.uri in planted else s for s in dataset.sources]
    suspects = inspect_data(dataset.with_sources(wrong), audio=False)["labels"].facts["clips"]
    assert len(planted & set(suspects[:6])) >= 2


def test_silent_clipped_and_short_recordings_are_named(found):
    told = "\n".join(found["audio"].items)
    assert "silent.wav [dog_bark]: silent" in told
    assert "clipped.wav [dog_bark]: clipped" in told
    assert "short.wav [dog_bark]: short (0.20 s)" in told
    assert len(found["audio"].items) == 3


def test_balance_counts_clips_groups_and_seconds(found):
    assert found["balance"].facts["classes"]["baby_cry"]["clips"] == 16
    assert found["balance"].facts["classes"]["baby_cry"]["groups"] == 16


def test_clean_clips_raise_no_alarm(faulty):
    clean = inspect_data(faulty.take(np.arange(48)))
    assert clean["copies"].level == "good"
    assert clean["audio"].level == "good"
    assert clean["near_copies"].level == "good"
    assert clean["confounds"].facts["duration"]["p_holm"] > 0.05


def test_a_class_told_by_its_duration_is_a_confound(faulty):
    dataset = faulty.take(np.arange(48))
    labels = np.array([source.label for source in dataset.sources])
    rng = np.random.default_rng(0)
    longer = replace(dataset, seconds=np.where(labels == "baby_cry", 4.0, 1.0) + rng.uniform(0, 0.1, 48))
    confounds = inspect_data(longer, audio=False)["confounds"]
    assert confounds.level == "bad"
    assert "duration" in confounds.text


def test_without_labels_the_sound_is_still_looked_at(faulty):
    bare = faulty.with_sources([replace(source, label=None) for source in faulty.sources])
    checks = [finding.check for finding in inspect_data(bare, audio=False).findings]
    assert checks == ["copies", "near_copies", "labels", "outliers"]
    assert inspect_data(bare, audio=False)["labels"].text.startswith("None of the 53 clips has a label")


def test_an_unlabelled_copy_contradicts_nothing(faulty):
    clips = faulty.take([*range(48), 48])
    bare = clips.with_sources(
        [replace(s, group=None, label=None if s.uri == "copy.wav" else s.label) for s in clips.sources]
    )
    copies = inspect_data(bare, audio=False)["copies"]
    assert copies.items == ("baby_cry0.wav [baby_cry] and copy.wav [no label]",)
    assert copies.text == "1 pair of clips has the same bytes."  # one group by the bytes: no leak, no second label


def test_a_class_of_one_group_is_not_judged_and_its_labels_are_not_doubted(faulty):
    clips = faulty.take(np.arange(48))
    voices = clips.relabel(list(clips.y), groups=[f"voice of {label}" for label in clips.y])
    found = inspect_data(voices, audio=False)
    assert found["labels"].level == "note"
    assert found["labels"].text.startswith("Not looked for")
    assert found["confounds"].level == "bad"
    assert found["confounds"].text.startswith("Cannot be judged: every clip of 'baby_cry' is of one group ('voice of")
    one = clips.relabel(list(clips.y), groups=[s.group if s.label != "rooster" else "r" for s in clips.sources])
    found = inspect_data(one, audio=False)
    assert "of 32 labels" in found["labels"].text or found["labels"].level == "good"
    assert found["confounds"].text.startswith("Not every class can be judged: every clip of 'rooster' is of one group")


def test_unknown_groups_are_said(faulty):
    clips = faulty.take(np.arange(48))
    bare = clips.with_sources([replace(s, group=None) for s in clips.sources])
    assert "Speakers or recordings are unknown" in inspect_data(bare, audio=False)["confounds"].text
    assert "unknown" not in inspect_data(clips, audio=False)["confounds"].text


def test_the_class_of_a_group_is_that_of_naive_bayes_without_its_table():
    rng = np.random.default_rng(0)
    for n_groups in (3, 12, 60):
        of_group = rng.integers(0, n_groups, 150)
        of_class = (of_group + rng.integers(0, 3, 150)) % 4
        table = np.eye(n_groups)
        bayes = BernoulliNB().fit(table[of_group], of_class)
        scores = np.sort(bayes.predict_joint_log_proba(table), axis=1)
        clear = scores[:, -1] - scores[:, -2] > 1e-9
        said = _class_of_groups(of_class, of_group, 4, n_groups)
        assert clear.mean() > 0.9
        assert np.array_equal(said[clear], bayes.predict(table)[clear])


def test_memory_does_not_grow_with_the_square_of_the_groups():
    rng, n = np.random.default_rng(0), 12_000
    dataset = SimpleNamespace(
        y=np.array([f"c{(i // 2) % 4}" for i in range(n)]),
        groups=np.array([f"g{i // 2}" for i in range(n)]),
        seconds=rng.uniform(1, 5, n),
        control=rng.normal(size=(n, 128)).astype(np.float32),
    )
    tracemalloc.start()
    assert find_confounds(dataset).facts["group"]["accuracy"] > 0.8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # a table of clips by groups alone takes 288 MB, and its copies as much again


def test_missing_audio_is_said_not_guessed(faulty):
    lost = inspect_data(replace(faulty, root="/nowhere"))
    assert "Only 0 of 53 audio files were found" in lost["audio"].text  # one is short all the same
    clean = replace(faulty.take(np.arange(48)), root="/nowhere")
    assert inspect_data(clean)["audio"].text.startswith("No audio file was found")


def test_tiny_data_sets_do_not_break_it(faulty):
    assert inspect_data(faulty.take([0])).n_clips == 1
    assert inspect_data(faulty.take([0, 20, 40]))["labels"].level == "note"
    with pytest.raises(DatasetError, match="no clip"):
        inspect_data(faulty.take(np.zeros(0, dtype=int)))


def test_everything_is_plain_json(found):
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["schema_version"] == 1
    assert len(plain["findings"]) == len(found.findings)


def test_chosen_parts_alone_are_looked_at_in_their_order(faulty):
    reported = []
    chosen = inspect_data(faulty, only=["labels", "copies"], progress=lambda *n, part: reported.append((part, *n)))
    assert [finding.check for finding in chosen.findings] == ["copies", "labels"]
    assert reported[:2] == [("copies", 0, 1), ("copies", 1, 1)]
    assert reported[-1][0] == "labels"
    assert reported[-1][1] == reported[-1][2] > 1  # folds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ["label"]}, "did you mean 'labels'.*confounds.*near_copies"),
        ({"only": []}, "no part .* is left"),
        ({"only": ["audio"], "audio": False}, "no part .* is left"),
    ],
)
def test_parts_that_cannot_be_are_refused(faulty, options, said):
    with pytest.raises(ParameterError, match=said):
        inspect_data(faulty, **options)


def test_parts_on_labels_say_once_that_there_are_none(faulty):
    nameless = faulty.with_sources([replace(source, label=None) for source in faulty.sources])
    [finding] = inspect_data(nameless, only=["balance", "confounds"]).findings
    assert "has a label" in finding.text


@pytest.mark.parametrize("spread", [1.0, 0.8], ids=["all axes alike", "few axes matter"])
def test_close_pairs_are_those_of_a_search_through_all(spread):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(5000, 64)) * spread ** np.arange(64)).astype(np.float32)
    copied = rng.choice(5000, 40, replace=False).reshape(20, 2)
    values[copied[:, 1]] = values[copied[:, 0]] + rng.normal(size=(20, 64)) * 0.02 * spread ** np.arange(64)
    radius = 0.3 * usual_distance(values)
    pairs, distances = close_pairs(values, radius)
    tree = {tuple(pair) for pair in cKDTree(values.astype(float)).query_pairs(radius)}
    assert {tuple(map(int, pair)) for pair in pairs} == tree
    assert len(tree) >= 20
    np.testing.assert_allclose(distances, np.linalg.norm(values[pairs[:, 0]] - values[pairs[:, 1]], axis=1), rtol=1e-4)


def test_a_crowd_of_equal_clips_does_not_make_every_pair_of_them():
    values = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    values[:1000] = values[0]
    pairs, distances = close_pairs(values, 0.1)
    assert 999 <= len(pairs) <= 5 * 1000
    assert not distances.any()
    assert set(pairs.ravel().tolist()) == set(range(1000))
