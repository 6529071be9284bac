"""The adapters are what mteb, HEAR and X-ARES call: by those packages where they are installed, else by what they ask.

``hearvalidator`` needs TensorFlow, so it is run by hand (it passes); what it checks stands here.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

from embedx import AudioEmbedder
from embedx.adapters import MtebEncoder, XaresEncoder, hear
from embedx.errors import DecodeError, ParameterError
from embedx.testing import make_tone

RATE = 16_000


def tones(n, seconds=1.07):
    return torch.from_numpy(
        np.stack([make_tone(200.0 * (i + 1), seconds=seconds, noise=0.05, seed=i) for i in range(n)])
    )


@pytest.fixture(scope="module")
def hear_model():
    return hear.load_model("tiny", layer=-1, compute_dtype="float32")


def test_nothing_of_others_is_imported():
    code = (
        "import embedx.adapters as a, sys; a.MtebEncoder('tiny'), a.XaresEncoder, a.hear;"
        "print(sorted({'mteb', 'xares', 'hearvalidator', 'tensorflow', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("seconds", "n_frames", "last"), [(1.07, 53, 1052.5), (1.98, 98, 1952.5), (4.0, 199, 3972.5)])
def test_hear_frames_have_their_times_and_do_not_depend_on_the_batch(hear_model, seconds, n_frames, last):
    audio = tones(2, seconds)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, hear_model)
    assert embeddings.shape == (2, n_frames, hear_model.timestamp_embedding_size)
    assert (embeddings.dtype, timestamps.dtype) == (torch.float32, torch.float32)
    assert timestamps.shape == (2, n_frames)
    assert (float(timestamps[0, 0]), float(timestamps[1, -1])) == (12.5, last)
    np.testing.assert_allclose(np.diff(timestamps.numpy()), 20.0, atol=1e-3)
    alone, _ = hear.get_timestamp_embeddings(audio[1:], hear_model)
    np.testing.assert_allclose(embeddings[1], alone[0], atol=1e-5)


def test_hear_scenes_are_the_means_of_their_frames_and_what_the_embedder_says(hear_model):
    audio = tones(4, 2.74)
    scenes = hear.get_scene_embeddings(audio, hear_model)
    assert (scenes.shape, scenes.dtype) == ((4, hear_model.scene_embedding_size), torch.float32)
    frames, _ = hear.get_timestamp_embeddings(audio, hear_model)
    np.testing.assert_allclose(scenes, frames.mean(1), atol=1e-4)
    embedder = AudioEmbedder("tiny", layer=-1, compute_dtype="float32", sampling_rate=RATE)
    np.testing.assert_array_equal(scenes, embedder.transform(list(audio.numpy())))
    np.testing.assert_array_equal(scenes, hear_model(audio))


def test_hear_sizes_follow_the_choices():
    model = hear.load_model("tiny", layer="all", pooling="mean+std")
    n_layers = model.waveforms.info.n_layers
    assert (model.scene_embedding_size, model.timestamp_embedding_size) == (2 * 192 * n_layers, 192 * n_layers)
    assert hear.get_scene_embeddings(tones(1), model).shape == (1, model.scene_embedding_size)
    assert hear.get_timestamp_embeddings(tones(1), model)[0].shape[2] == model.timestamp_embedding_size


@pytest.mark.parametrize("shape", [(16_000,), (0, 16_000), (1, 2, 16_000)])
def test_other_axes_are_one_clear_error(hear_model, shape):
    with pytest.raises(ParameterError, match=r"give \(n_sounds, n_samples\)"):
        hear.get_scene_embeddings(torch.zeros(shape), hear_model)


def test_a_sound_that_is_too_short_is_named(hear_model):
    with pytest.raises(DecodeError):
        hear.get_scene_embeddings(torch.zeros(1, 100), hear_model)


def test_xares_gets_frames():
    encoder = XaresEncoder("tiny", layer=-1, compute_dtype="float32")
    frames = encoder(torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0)) / 4)
    assert frames.shape == (2, 156, encoder.output_dim)
    assert (encoder.sampling_rate, encoder.hop_size_in_ms) == (RATE, 20.0)
    assert frames.dtype == torch.float32


def test_xares_itself_takes_the_encoder():
    checker = pytest.importorskip("xares.audio_encoder_checker", reason="needs xares")

    class OwnEncoder(XaresEncoder):
        def __init__(self):
            super().__init__("tiny")

    assert checker.check_audio_encoder(XaresEncoder("tiny"))
    assert checker.check_audio_encoder(OwnEncoder())


def test_mteb_batches_of_any_rate_and_channels():
    encoder = MtebEncoder("tiny", layer=-1, compute_dtype="float32")
    mono = make_tone(440.0)
    batches = [
        {"audio": [{"array": mono, "sampling_rate": RATE}, {"array": np.stack([mono, mono]), "sampling_rate": RATE}]},
        {"audio": [{"array": mono[::2].tolist(), "sampling_rate": RATE // 2}]},
    ]
    rows = encoder.encode(batches, task_metadata=None, hf_split="test", hf_subset="default", prompt_type=None)
    assert (rows.shape, rows.dtype) == ((3, 192), np.float32)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    cosines = encoder.similarity(rows, rows)
    assert cosines.shape == (3, 3)
    np.testing.assert_allclose(encoder.similarity_pairwise(rows, rows[::-1]), np.diag(cosines[:, ::-1]), atol=1e-6)
    assert encoder.encode([]).shape == (0, 192)


def test_mteb_refuses_what_is_no_audio_and_another_revision():
    with pytest.raises(ParameterError, match="takes audio, and the task gives 'text'"):
        MtebEncoder("tiny").encode([{"text": ["a"]}])
    with pytest.raises(ParameterError, match="at revision bundled, not abc"):
        MtebEncoder("tiny", revision="abc")


def test_mteb_itself_gives_the_scores_of_its_own_wrapper():
    """On audio that nobody has to resample, and in float32, both are the same numbers."""
    mteb = pytest.importorskip("mteb", reason="needs mteb")
    from datasets import Dataset, DatasetDict
    from mteb.models import ModelMeta
    from mteb.models.model_implementations.wav2vec2_models import Wav2Vec2AudioWrapper
    from mteb.models.models_protocols import EncoderProtocol
    from mteb.tasks.classification.eng.fsdd import FSDD

    def clips(first, n):
        numbered = [(i % 3, make_tone(150.0 * (1 + i % 3), noise=0.4, seed=i)) for i in range(first, first + n)]
        rows = [{"audio": {"array": x.tolist(), "sampling_rate": RATE}, "label": label} for label, x in numbered]
        return Dataset.from_list(rows)

    def scores(model):
        task = FSDD()
        task.dataset, task.data_loaded = DatasetDict(train=clips(0, 30), test=clips(30, 15)), True
        options = {"batch_size": 8, "show_progress_bar": False}
        found = mteb.evaluate(model, task, cache=None, show_progress_bar=False, encode_kwargs=options)
        return found.task_results[0].scores["test"][0]["scores_per_experiment"]

    class Theirs(Wav2Vec2AudioWrapper):
        mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "their/tiny", "modalities": ["audio"]})

    ours = MtebEncoder("tiny", layer=-1, compute_dtype="float32")
    assert isinstance(ours, EncoderProtocol)
    assert (ours.mteb_model_meta.name, ours.mteb_model_meta.revision) == ("embedx/tiny", "bundled")
    assert scores(ours) == scores(Theirs(ours.info.location, None, device="cpu"))
