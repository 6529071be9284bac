"""What goes in and what comes out: bad clips named first, long clips by windows, variation only in training."""

import numpy as np
import pytest

from embedx.errors import ClipTooShortError, DatasetError, DecodeError, ParameterError, RecipeMismatchError
from embedx.heads.catalog import default_parameters, fit_head, make_head, search_space, with_recipe
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.heads.finetune.dataset import AudioDataset, as_sources, read_targets
from embedx.heads.finetune.settings import FineTuneSettings, mix, time_mask, vary
from embedx.manifest import Source
from embedx.testing import make_tone, write_wav


@pytest.fixture(scope="module")
def fitted(plain, tones):
    return FineTuneClassifier(**{**plain, "epochs": 1, "window_seconds": 1.0}).fit(*tones)


@pytest.fixture
def clip_of(tmp_path):
    def make(name, seconds, pitch=440.0):
        path = str(tmp_path / name)
        write_wav(path, make_tone(pitch, seconds=seconds, noise=0.1))
        return path

    return make


def test_a_bad_clip_is_named_before_training(plain, tones, tmp_path, clip_of):
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio here")
    cases = [
        (str(tmp_path / "gone.wav"), DecodeError, "gone.wav"),
        (str(tmp_path / "broken.wav"), DecodeError, "broken.wav"),
        (clip_of("short.wav", 0.01), ClipTooShortError, "less than one frame"),
    ]
    for path, kind, text in cases:
        with pytest.raises(kind, match=f"1 of 25 clips cannot be used, the first: .*{text}") as caught:
            FineTuneClassifier(**plain).fit([*tones[0], path], [*tones[1], "low"])
        assert caught.value.source.uri == path
    with pytest.raises(DecodeError, match="3 of 27"):
        FineTuneClassifier(**plain).fit([*tones[0], *(path for path, _, _ in cases)], [*tones[1], *["low"] * 3])


@pytest.mark.parametrize(
    ("X", "y", "kind", "text"),
    [
        (np.zeros((4, 3)), ["a", "b", "a", "b"], ParameterError, r"not an array of shape \(4, 3\)"),
        ("clip.wav", ["a"], ParameterError, "not one str"),
        ([1, 2], ["a", "b"], ParameterError, "not int"),
        ([], [], DatasetError, "0 clips"),
        (["a.wav"], ["a", "b"], DatasetError, "1 clips but 2 labels"),
        (["a.wav", "b.wav"], ["a", "a"], DatasetError, "two classes"),
    ],
)
def test_nonsense_is_one_line(plain, X, y, kind, text):
    with pytest.raises(kind, match=text):
        FineTuneClassifier(**plain).fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("layer_decay", 1.5),
        ("n_frozen_layers", 9),
        ("freeze", "cnv"),
        ("validation_fraction", 0.9),
        ("augmentation", Augmentation(mixup_alpha=-1)),
        ("window_seconds", 0),
        ("compute_dtype", "float8"),
        ("batch_seconds", 0),
        ("class_weight", "even"),
        ("head_learning_rate", 0),
        ("unfreeze_epochs", 3),
        ("augmentation", {"gain_db": 3.0}),
        ("random_state", -1),
    ],
)
def test_every_parameter_is_checked_before_audio_is_read(plain, name, value):
    with pytest.raises(ParameterError):
        FineTuneClassifier(**{**plain, name: value}).fit(["nowhere.wav", "neither.wav"], ["a", "b"])


def test_long_clips_are_the_mean_of_their_windows(fitted, clip_of, tmp_path):
    from embedx.audio.decode import decode

    path = clip_of("long.wav", 2.5)
    whole = fitted.decision_function([path])[0]
    samples = decode(path)
    parts = []
    for i, piece in enumerate((samples[:16_000], samples[16_000:32_000], samples[32_000:])):
        write_wav(str(tmp_path / f"{i}.wav"), piece)
        parts.append(str(tmp_path / f"{i}.wav"))
    one, two, half = fitted.decision_function(parts)
    assert np.allclose(whole, (one + two + half / 2) / 2.5, atol=1e-4)


def test_segments_of_one_file_are_clips(fitted, clip_of):
    path = clip_of("two.wav", 1.5)
    first, second, alone = fitted.decision_function(
        [Source(path, stop_seconds=0.5), Source(path, start_seconds=0.5), Source(path)]
    )
    assert not np.allclose(first, second)
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("groups", [None, [np.nan] * 24, [None] * 24])
def test_segments_of_one_file_are_held_out_together_whatever_groups_are_missing(groups):
    clips = [Source(f"{i // 3}.wav", start_seconds=float(i % 3), stop_seconds=i % 3 + 1.0) for i in range(24)]
    settings = FineTuneSettings(validation_fraction=0.25)
    targets = read_targets(clips, ["a", "b"] * 12, None, groups, settings)
    files = [{clips[i].uri for i in part} for part in (targets.train, targets.held_out)]
    assert files[1]
    assert not files[0] & files[1]


def test_a_library_without_room_reads_the_same(clip_of, fitted):
    sources = as_sources([clip_of("a.wav", 2.3), clip_of("b.wav", 0.4)])
    kept = AudioDataset(sources, fitted.recipe_, min_samples=400)
    bare = AudioDataset(sources, fitted.recipe_, min_samples=400, cache_bytes=0)
    assert bare.clips[0].samples is None
    assert kept.seconds == bare.seconds == pytest.approx(2.7, abs=1e-3)
    for index in (0, 1):
        for one, other in zip(kept.windows(index), bare.windows(index), strict=True):
            assert one[:2] == pytest.approx(other[:2])
            assert np.array_equal(one[2], other[2])
    assert np.array_equal(kept.crop(0, 16_000, 1_000), bare.crop(0, 16_000, 1_000))


def test_a_bad_clip_keeps_its_place_in_prediction(fitted, tones, tmp_path):
    proba, errors = fitted.predict_with_errors([tones[0][0], str(tmp_path / "gone.wav"), tones[0][1]])
    assert np.isnan(proba[1]).all()
    assert np.isfinite(proba[[0, 2]]).all()
    assert "no such file" in errors[1]
    assert errors[0] is errors[2] is None
    with pytest.raises(DecodeError):
        fitted.predict([tones[0][0], str(tmp_path / "gone.wav")])


def test_a_recipe_of_other_weights_is_refused(fitted, plain, tones):
    other = fitted.recipe_.replace(weights_sha256="0" * 64)
    with pytest.raises(RecipeMismatchError, match="other weights"):
        FineTuneClassifier(**plain, recipe=other).fit(*tones)


def test_each_variation_is_switchable_and_seeded():
    clip = make_tone(300.0, seconds=0.5)
    off = Augmentation.off()
    kinds = {"gain_db": 6.0, "noise_snr_db": 10.0, "speed_percent": 20.0}
    for name, value in kinds.items():
        changed = Augmentation(**{"crop": False, "mask_time_prob": 0.0, "gain_db": 0.0, name: value})
        first, again, other = (vary(clip, changed, np.random.default_rng(seed)) for seed in (3, 3, 5))
        assert np.array_equal(first, again), name
        assert first.shape != other.shape or not np.array_equal(first, other), name
        assert first.dtype == np.float32
    assert np.array_equal(vary(clip, off, np.random.default_rng(0)), clip)


def test_noise_has_the_level_that_was_asked_for():
    clip = make_tone(300.0, seconds=2.0, noise=0.0)
    noisy = vary(clip, Augmentation(gain_db=0.0, noise_snr_db=0.0), np.random.default_rng(0))
    drawn = np.random.default_rng(0).uniform(-1, 1, 2) is not None and np.random.default_rng(0)
    drawn.uniform(-1, 1), drawn.uniform(-1, 1)
    asked = drawn.uniform(0, 20)
    got = 10 * np.log10(np.mean(clip**2) / np.mean((noisy - clip) ** 2))
    assert got == pytest.approx(asked, abs=0.3)


def test_mixing_keeps_the_length():
    mixed = mix(np.ones(10, np.float32), np.zeros(3, np.float32), 0.25)
    assert mixed.tolist() == [0.25] * 10


def test_masks_hide_about_what_the_config_says():
    rng = np.random.default_rng(0)
    masks = [time_mask(500, prob=0.2, length=10, least=2, rng=rng) for _ in range(50)]
    assert 0.14 < np.mean([mask.mean() for mask in masks]) < 0.2
    assert time_mask(500, prob=0.0, length=10, least=2, rng=rng) is None
    assert time_mask(8, prob=0.5, length=10, least=2, rng=rng) is None


def test_the_catalogue_makes_it_from_what_tuning_suggests(small_encoder, fitted):
    head = with_recipe("finetune", fitted.recipe_)
    space = search_space(head, n_layers=3)
    assert space["n_frozen_layers"].options == (0, 2)  # of three layers
    defaults = default_parameters(head)
    assert set(space) <= set(defaults)
    estimator = make_head(head, n_layers=3, random_state=7, **{name: defaults[name] for name in space})
    assert isinstance(estimator, FineTuneClassifier)
    assert estimator.recipe == fitted.recipe_
    assert estimator.random_state == 7
    with pytest.raises(ParameterError, match="learning_rate"):
        make_head("finetune", n_layers=1, learning_rat=1.0)


def test_fit_head_gives_groups_and_epochs(fitted, plain, tones):
    losses = []
    head = with_recipe("finetune", fitted.recipe_)
    small = {"epochs": 1, "batch_size": 8, "validation_fraction": 0.25, "device": "cpu"}
    estimator = make_head(head, n_layers=1, **small)
    groups = [f"g{i % 8}" for i in range(24)]
    fit_head(estimator, *tones, groups=groups, on_epoch=lambda epoch, loss: losses.append((epoch, loss)))
    assert losses[0][0] == 0
    assert np.isfinite(losses[0][1])


def test_every_setting_is_a_parameter_with_its_default():
    from dataclasses import fields

    from embedx.heads.finetune.settings import FineTuneSettings

    defaults = {one.name: one.default for one in fields(FineTuneSettings)}
    assert FineTuneClassifier().get_params(deep=False) == defaults
    assert FineTuneClassifier().set_params(epochs=3).epochs == 3
    text = FineTuneClassifier.__doc__
    assert [name for name in defaults if f"    {name} : " not in text] == []


def test_it_clones_and_says_what_it_eats(plain):
    from sklearn.base import clone, is_classifier

    estimator = FineTuneClassifier(**plain)
    twin = clone(estimator)
    assert {**twin.get_params(), "augmentation": None} == {**estimator.get_params(), "augmentation": None}
    assert is_classifier(estimator)
    assert estimator.input_kind == "sources"
    assert not estimator.__sklearn_tags__().input_tags.two_d_array
