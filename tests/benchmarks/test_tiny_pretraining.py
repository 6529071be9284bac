"""How the bundled encoder was trained: it hears no holdout, its frames are the encoder's, and a kill loses nothing."""

import csv
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.training import hearing, speech, targets, textures
from benchmarks.training.architecture import fresh_model
from benchmarks.training.augmentation import augmented
from benchmarks.training.peers import Peers
from benchmarks.training.pool import Pool, build_pool, second_targets
from benchmarks.training.student import known_loss
from benchmarks.training.trainer import Plan, Trainer, drawn_mask
from benchmarks.training.vocabulary import WORDS

CLASSES = ("rain", "helicopter", "dog_bark", "rooster", "baby_cry", "person_sneeze")


def write_clips(folder, rows):
    folder.mkdir()
    with open(folder / "clips.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def noise(seconds, seed):
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16_000))).astype(np.float32)


@pytest.fixture
def sounds(tmp_path):
    names = [(label, fold) for label in CLASSES for fold in "12345"]
    rows = [{"path": f"{c}{f}.wav", "label": c, "fold": f, "source_id": f"{c}{f}"} for c, f in names]
    write_clips(tmp_path / "esc10", rows)
    for seed, row in enumerate(rows):
        soundfile.write(tmp_path / "esc10" / row["path"], noise(1, seed), 16_000)
    return tmp_path / "esc10"


@pytest.fixture
def digits(tmp_path):
    names = [(speaker, n) for speaker in ("george", "jackson", "nicolas") for n in range(20)]
    rows = [{"path": f"{s}{n}.wav", "label": str(n % 10), "speaker": s} for s, n in names]
    write_clips(tmp_path / "fsdd", rows)
    for seed, row in enumerate(rows):
        soundfile.write(tmp_path / "fsdd" / row["path"], noise(0.5, seed)[::2], 8_000)
    return tmp_path / "fsdd"


def tiny_pool(*, n_streams=6, seconds=4.0) -> Pool:
    streams = [hearing.Stream(noise(seconds, i), i % 3, held_out=i >= 3) for i in range(n_streams)]
    return build_pool(streams, n_clusters=4, seed=0, say=lambda *_, **__: None)


def trainer(pool, **options) -> Trainer:
    return Trainer(pool, Plan(minutes=1e6, batch_seconds=3, **options), device="cpu", peers=Peers())


def test_it_hears_neither_the_samples_classes_nor_fold_five(sounds):
    heard = hearing.heard_sounds(sounds)
    assert Counter(row["label"] for row in heard) == {"rain": 4, "helicopter": 4}
    assert {row["fold"] for row in heard} == set("1234")


def test_it_never_hears_george(digits):
    assert {row["speaker"] for row in hearing.heard_digits(digits)} == {"jackson", "nicolas"}
    streams = list(hearing.digit_streams(digits, np.random.default_rng(0), n_passes=1, seconds=2.0))
    n_seconds = sum(len(stream.samples) for stream in streams) / 16_000
    assert 0 < n_seconds < 40 * (0.5 + 0.15)


def test_clips_of_one_recording_are_held_out_together(sounds):
    streams = list(hearing.sound_streams(sounds, np.random.default_rng(0)))
    assert len(streams) == 8
    assert not any(stream.held_out for stream in streams)  # a tenth of eight recordings, rounded down


@pytest.mark.parametrize("n_samples", [399, 400, 719, 720, 16_000, 48_001])
def test_targets_have_exactly_the_encoders_frames(n_samples):
    model = fresh_model(0)
    expected = int(model._get_feat_extract_output_lengths(torch.tensor(n_samples))) if n_samples >= 400 else 0
    assert hearing.n_frames(n_samples) == expected
    if expected:
        assert targets.log_mel(torch.randn(2, n_samples)).shape == (2, expected, targets.N_MELS)


def test_a_resampled_stream_inherits_its_labels_at_the_right_time():
    labels = np.arange(100)
    faster = targets.inherited(labels, speed=1.25, n=79)
    assert faster[0] == 0
    assert np.abs(faster - np.arange(79) * 1.25).max() <= 1
    assert (targets.inherited(labels, speed=1.0, n=100) == labels).all()


def test_about_the_planned_share_is_hidden_and_every_crop_has_something_to_predict():
    plan = Plan(minutes=1)
    mask = drawn_mask(512, 127, plan, torch.Generator().manual_seed(0))
    assert mask.float().mean().item() == pytest.approx(plan.mask_share, abs=0.05)
    assert drawn_mask(512, 31, plan, torch.Generator().manual_seed(0)).any(1).all()


def test_augmentation_keeps_length_and_variance_and_follows_its_seed():
    audio = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(1))
    first, again, other = (augmented(audio, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    assert first.shape == audio.shape
    assert torch.allclose(first.var(-1, unbiased=False), torch.ones(4), atol=1e-3)


@pytest.mark.full
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path):
    pool = tiny_pool()
    whole, killed = trainer(pool), trainer(pool)
    for _ in range(4):
        whole.learn()
    killed.learn()
    killed.learn()
    killed.save(tmp_path / "trainer.pt")
    resumed = trainer(pool)
    assert resumed.resume(tmp_path / "trainer.pt")
    resumed.learn()
    resumed.learn()
    assert resumed.step == whole.step == 4
    for name, value in whole.student.state_dict().items():
        torch.testing.assert_close(resumed.student.state_dict()[name], value, rtol=1e-2, atol=1e-4, msg=name)


def test_a_second_iteration_finds_a_target_for_every_frame_of_the_first_ones_features():
    pool = tiny_pool()
    again = second_targets(pool, fresh_model(0).eval(), layer=3, n_clusters=5, seed=0)
    assert again.shape == pool.targets.shape
    assert set(np.unique(again)) <= set(range(5))
    assert len(np.unique(again)) > 1


needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs Debian's package espeak-ng")


@needs_espeak
def test_phonemes_stand_where_they_sound():
    voice = f"{speech.voice_files()['en-us']}+m3"
    synthesiser = speech.Synthesiser()
    samples, phonemes = synthesiser.say("see, see, see", voice, rate=120, pitch=50)
    samples = hearing.resample(samples, synthesiser.rate)
    n = hearing.n_frames(len(samples))
    names = np.array(speech.at_frames(speech.simplified(phonemes), rate=synthesiser.rate, n=n))
    assert set(names) == {"s", "i", ""}
    spectra = targets.log_mel(torch.from_numpy(samples))[:n]
    high, low = spectra[:, 30:].mean(1).numpy(), spectra[:, :8].mean(1).numpy()
    hissing = high > low
    assert hissing[names == "s"].mean() > 0.8  # most energy above 3 kHz while an s sounds
    assert hissing[names == "i"].mean() < 0.2


@needs_espeak
def test_synthesised_speech_has_a_label_for_almost_every_frame_and_never_says_a_digit():
    streams = speech.speech_streams(0.5, np.random.default_rng(0), n_phonemes=72)
    for stream in streams:
        assert stream.phonemes.shape == (hearing.n_frames(len(stream.samples)),)
    labels = np.concatenate([stream.phonemes for stream in streams])
    assert (labels == speech.UNKNOWN).mean() < 0.1
    assert not set(WORDS) & {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


@needs_espeak
def test_a_voice_that_espeak_does_not_have_is_named():
    with pytest.raises(ValueError, match="nobody"):
        speech.Synthesiser().say("hello", "nobody", rate=120, pitch=50)


def test_a_language_switch_is_no_sound_and_marks_are_dropped():
    assert speech.simplified([(0, "uː"), (5, "(de)"), (9, "tʃ")]) == [(0, "u"), (9, "tʃ")]  # noqa: RUF001


def test_made_sounds_are_finite_differ_and_follow_their_seed():
    first, again = (list(textures.texture_streams(1.0, np.random.default_rng(3))) for _ in range(2))
    assert len(first) == 12
    for one, same in zip(first, again, strict=True):
        assert np.isfinite(one.samples).all()
        assert one.samples.std() > 0
        assert (one.samples == same.samples).all()
    assert len({stream.recording for stream in first}) == 12


def test_only_recordings_that_training_hears_are_told_apart():
    pool = build_pool(
        [hearing.Stream(noise(2, i), i % 2, i == 2, recording="" if i % 2 else str(i)) for i in range(5)],
        n_clusters=2,
        seed=0,
        say=lambda *_, **__: None,
    )
    assert pool.recording.tolist() == [0, -1, -1, -1, 1]


def test_unknown_labels_cost_nothing():
    logits = torch.tensor([[0.0, 0.0], [9.0, -9.0]])
    assert known_loss(logits, torch.tensor([-1, -1])).item() == 0
    assert known_loss(logits, torch.tensor([0, -1])).item() == pytest.approx(np.log(2))


@pytest.mark.full
def test_masked_loss_falls_when_there_is_something_to_learn():
    tones = [np.sin(np.arange(64_000) * (0.05 + 0.3 * (i % 3))).astype(np.float32) for i in range(6)]
    streams = [hearing.Stream(tone + noise(4, i), i % 3, held_out=i >= 3) for i, tone in enumerate(tones)]
    pupil = trainer(build_pool(streams, n_clusters=3, seed=0, say=lambda *_, **__: None))
    pupil.plan = replace(pupil.plan, weights=(1.0, 0.5, 0.0, 0.0, 0.0, 0.0))  # the clusters alone
    pupil.rate = lambda: 1e-3
    before = pupil.examine()["held_out"]
    for _ in range(15):
        pupil.learn()
    assert pupil.examine()["held_out"] < before
