"""A model that reads long recordings: what it hears, of every kind of head, and what it warns of."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedx import fit_model, load_embeddings
from embedx.errors import DecodeError, EmbedxWarning, ParameterError
from embedx.extract import in_process
from embedx.extract.job import extract_embeddings
from embedx.manifest import Manifest, Source, read_manifest
from embedx.model import Model
from embedx.model.recording_reader import RecordingReader, choose_windows, default_options
from embedx.recipe import Resources
from embedx.testing import make_tone, write_wav
from embedx.timeline import SegmentOptions

HERE = Resources(workers=0, device="cpu")


@pytest.fixture(scope="module")
def dataset(tone_folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "emb.h5"
    extract_embeddings(read_manifest(tone_folder), store, encoder="tiny")
    return load_embeddings(store)


@pytest.fixture(scope="module")
def model(dataset):
    return fit_model(dataset, "logreg")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Four seconds of each class, one after the other."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    tones = [make_tone(hertz, seconds=4.0, noise=0.05, seed=i) for i, hertz in enumerate((1_500.0, 200.0, 600.0))]
    write_wav(str(path), np.concatenate(tones))
    return path


def test_what_is_heard_and_when(model, recording):
    line = model.timeline(recording, window_seconds=1.0, resources=HERE)
    assert [segment.label for segment in line.segments] == ["high", "low", "middle"]
    for segment, onset in zip(line.segments, (0, 4, 8), strict=True):
        assert segment.onset_seconds == pytest.approx(onset, abs=0.5)
        assert segment.offset_seconds == pytest.approx(onset + 4, abs=0.5)
        assert 0.5 < segment.mean_probability <= segment.peak_probability <= 1
    np.testing.assert_allclose(line.proba.sum(axis=1), 1)
    assert line.proba.shape == (45, 3)


def test_a_window_alone_gets_what_predict_gives_that_piece(model, recording):
    line = model.timeline(recording, window_seconds=1.0, hop_seconds=3.0, resources=HERE)
    pieces = [
        Source(recording.name, start_seconds=start, stop_seconds=end)
        for start, end in zip(line.start_seconds, line.end_seconds, strict=True)
    ]
    expected = model.predict_proba(Manifest(tuple(pieces), recording.parent), resources=HERE)
    np.testing.assert_allclose(line.proba, expected, atol=2e-4)  # what is rounded to float16 may round to its neighbour


def test_one_pass_hears_the_classes_of_short_events(model, recording):
    line = model.timeline(recording, window_seconds=1.0, one_pass=True, resources=HERE)
    assert len(line) == 45
    np.testing.assert_allclose(line.proba.sum(axis=1), 1)


def test_the_control_hears_without_an_encoder(dataset, recording):
    line = fit_model(dataset, "logmel").timeline(recording, window_seconds=1.0, resources=HERE)
    middles = np.searchsorted(line.start_seconds, [1.5, 5.5, 9.5])
    assert line.labels[middles].tolist() == ["high", "low", "middle"]


def test_a_calibrated_model_stays_calibrated(dataset, model, recording):
    calibrated = fit_model(dataset, "logreg", calibrate="temperature")
    options = {"window_seconds": 1.0, "hop_seconds": 2.0, "resources": HERE}
    plain, corrected = (one.timeline(recording, **options).proba for one in (model, calibrated))
    np.testing.assert_allclose(calibrated.calibration.apply(plain), corrected, atol=1e-6)


def test_a_network_that_was_trained_as_a_whole_hears_windows_itself(dataset, recording):
    model = fit_model(dataset, "finetune", params={"epochs": 1, "batch_seconds": 20.0, "device": "cpu"})
    line = model.timeline(recording, window_seconds=1.0, hop_seconds=1.0, resources=HERE)
    assert line.start_seconds.tolist() == list(range(12))
    pieces = [Source(str(recording), start_seconds=float(i), stop_seconds=i + 1.0) for i in range(12)]
    np.testing.assert_allclose(line.proba, model.predict_proba(Manifest(tuple(pieces), Path("/"))), atol=1e-6)
    with pytest.raises(ParameterError, match="one pass is not possible"):
        model.timeline(recording, one_pass=True)
    with pytest.raises(DecodeError, match=r"no\.wav"):
        model.timeline(recording.with_name("no.wav"), window_seconds=1.0)


def test_several_recordings_with_one_encoder(model, recording):
    reached = []
    options = SegmentOptions(leave_out=("low",))
    with RecordingReader(model, window_seconds=1.0, options=options, resources=HERE) as reader:
        first = reader.read(str(recording), progress=reached.append)
        part = reader.read(str(recording), 4.0, 8.0)
    assert [segment.label for segment in first.segments] == ["high", "middle"]
    assert reached[-1] == pytest.approx(12.0)
    assert part.start_seconds[0] == 4.0
    assert part.seconds == pytest.approx(8.0)


def test_a_time_line_shares_the_weights_that_label_clips(model, recording):
    in_process.forget()
    model.predictions([recording], in_process=True, resources=HERE)
    (held,) = in_process._kept.encoders.values()
    model.timeline(recording, window_seconds=1.0, hop_seconds=4.0, resources=HERE)
    assert [one is held for one in in_process._kept.encoders.values()] == [True]


def test_models_say_what_lengths_they_learned_from(dataset, model, recording):
    assert model.training["median_clip_seconds"] == pytest.approx(np.median(dataset.seconds))
    long = replace(model, training={**model.training, "median_clip_seconds": 5.0})
    with pytest.warns(EmbedxWarning, match=r"windows of 0\.5 s are much shorter .* 5 s at the median"):
        RecordingReader(long, window_seconds=0.5, resources=HERE)
    with pytest.warns(EmbedxWarning, match="much longer"):
        RecordingReader(model, window_seconds=8.0, resources=HERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RecordingReader(long, window_seconds=2.0, resources=HERE)
        RecordingReader(model, resources=HERE)


def test_a_model_of_an_older_embedx_still_reads(model, recording, tmp_path):
    place = model.save(tmp_path / "model")
    record = json.loads((place / "model.json").read_text())
    assert record["training"].pop("median_clip_seconds") > 0
    (place / "model.json").write_text(json.dumps(record))
    old = Model.load(place)
    with RecordingReader(old, resources=HERE) as reader:
        assert (reader.window_seconds, reader.hop_seconds) == (2.0, 0.5)


@pytest.mark.parametrize(
    ("learned", "asked", "expected"),
    [
        (5.0, (None, None), (2.0, 0.5)),
        (0.4, (None, None), (0.5, 0.125)),
        (1.0, (None, 0.1), (1.0, 0.1)),
        (None, (None, None), (2.0, 0.5)),
        (5.0, (4.0, None), (4.0, 1.0)),
    ],
)
def test_windows_are_as_long_as_what_was_learned_from(learned, asked, expected):
    assert choose_windows({"median_clip_seconds": learned}, 10.0, *asked) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window_seconds": 0}, "window_seconds=0"),
        ({"hop_seconds": -1.0}, "hop_seconds=-1.0"),
        ({"window_seconds": 20.0}, "at most 10"),
        ({"options": SegmentOptions(leave_out=("hihg",))}, "did you mean 'high'"),
    ],
)
def test_what_does_not_suit_the_model(model, options, told):
    with pytest.raises(ParameterError, match=told):
        RecordingReader(model, **options)


@pytest.fixture(scope="module")
def sets_model(tmp_path_factory):
    """A model of high and low tones, which may sound at once."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    rows = ["path,label,group"]
    for i in range(24):
        names = (("high",), ("low",), ("high", "low"), ())[i % 4]
        samples = sum((make_tone(PITCHES[n] * rng.uniform(0.95, 1.05), noise=0.0, seed=i) for n in names), _noise(i))
        write_wav(str(folder / f"{i}.wav"), samples)
        rows.append(f"{i}.wav,{'|'.join(names) or '|'},g{i // 4}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    extract_embeddings(read_manifest(folder / "clips.csv", label_separator="|"), folder / "emb.h5", encoder="tiny")
    return fit_model(load_embeddings(folder / "emb.h5", label_separator="|"), "logreg")


PITCHES = {"high": 1_500.0, "low": 200.0}


def _noise(seed, seconds=1.0):
    return 0.05 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds)).astype(np.float32)


def test_classes_that_sound_at_once_have_segments_over_each_other(sets_model, tmp_path):
    samples = _noise(0, 12.0)
    samples[: 8 * 16_000] += make_tone(1_500.0, seconds=8.0)
    samples[4 * 16_000 :] += make_tone(200.0, seconds=8.0)
    write_wav(str(tmp_path / "both.wav"), samples)
    line = sets_model.timeline(tmp_path / "both.wav", window_seconds=1.0, resources=HERE)
    spans = {one.label: (one.onset_seconds, one.offset_seconds) for one in line.segments}
    assert [one.label for one in line.segments] == ["high", "low"]
    assert spans["high"] == pytest.approx((0.0, 8.0), abs=0.5)
    assert spans["low"] == pytest.approx((4.0, 12.0), abs=0.5)
    thresholds = dict(zip(sets_model.classes, sets_model.thresholds, strict=True))
    assert {name: line.options.of(name, "high") for name in thresholds} == thresholds
    other = sets_model.timeline(tmp_path / "both.wav", options=SegmentOptions(high=0.99, low=0.9), resources=HERE)
    assert other.options == SegmentOptions(high=0.99, low=0.9)


def test_options_that_are_asked_for_come_before_the_models_thresholds(sets_model):
    options = default_options(sets_model, high=0.6, by_class={"low": {"high": 0.9, "min_seconds": 1.0}})
    assert [options.of("high", name) for name in ("high", "low")] == pytest.approx([0.6, 0.42])
    assert [options.of("low", name) for name in ("high", "low", "min_seconds")] == pytest.approx([0.9, 0.63, 1.0])
    with pytest.raises(ParameterError, match=r"low=0\.7 lies above high=0\.5"):
        default_options(sets_model, low=0.7, high=0.5)
