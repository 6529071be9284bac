"""Planted faults in real recordings are found, and clean data is called clean."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embedx.errors import DatasetError
from embedx.inspection import inspect_data
from embedx.inspection.copies import views


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
    assert checks == ["copies", "near_copies", "outliers"]


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
