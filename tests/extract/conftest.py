"""A folder of real clips, good and bad."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import embedx.audio.decode_pool
import embedx.extract.compute


@pytest.fixture(scope="session")
def mixed_folder(tmp_path_factory):
    """Twelve good clips in two classes; a text file, half a file, an empty one and one too short among them."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for i in range(12):
        place = folder / ("dog" if i % 2 else "cat")
        place.mkdir(exist_ok=True)
        samples = rng.normal(0, 0.1, 16_000 + 1_600 * i) * np.hanning(16_000 + 1_600 * i)
        soundfile.write(place / f"{i:02}.wav", samples, 16_000)
    (folder / "dog" / "words.wav").write_text("no audio, only words\n" * 40)
    whole = (folder / "cat" / "00.wav").read_bytes()
    (folder / "cat" / "half.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "cat" / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "dog" / "blink.wav", np.ones(100) * 0.1, 16_000)
    return folder


BAD = {"dog/words.wav": "decode", "cat/half.wav": "decode", "cat/empty.wav": "decode", "dog/blink.wav": "too_short"}


@pytest.fixture(scope="session")
def bad_clips():
    """Relative path of each bad clip -> reason."""
    return BAD


@pytest.fixture
def runners(monkeypatch):
    """The module of fake runners, under the name by which the workers import it; what they change here comes back."""
    monkeypatch.setattr(embedx.audio.decode_pool, "_START", embedx.audio.decode_pool._START)
    monkeypatch.setattr(embedx.extract.compute, "load_encoder", embedx.extract.compute.load_encoder)
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent))
    import local_runners

    return local_runners
