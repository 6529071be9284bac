"""Real recordings with planted faults, embedded by their log-mel statistics."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import embedx
from embedx.audio.decode import decode
from embedx.audio.opus import encode_opus
from embedx.dataset import Dataset
from embedx.encoders.logmel import log_mel_statistics
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.testing import make_tone, write_wav

SAMPLE = Path(embedx.__file__).parent / "assets" / "sample"
CLASSES = ("baby_cry", "dog_bark", "rooster")


def write_clips(root):
    """Return rows of (name, label, group): 3 classes of 16 recordings from 16 groups, and the planted faults."""
    rows = []
    for name in CLASSES:
        by_recording = {path.name.split("-")[1]: path for path in sorted((SAMPLE / "audio").glob(f"{name}*"))}
        clips = (decode(path) for path in by_recording.values())
        good = [clip for clip in clips if np.abs(clip).max() < 0.98][:16]
        for i, clip in enumerate(good):
            write_wav(str(root / f"{name}{i}.wav"), clip)
            rows.append((f"{name}{i}.wav", name, f"g{i}"))
    shutil.copy(root / "baby_cry0.wav", root / "copy.wav")
    rows.append(("copy.wav", "dog_bark", "g9"))
    (root / "again.ogg").write_bytes(encode_opus(decode(root / "rooster3.wav"), bit_rate=32_000))
    rows.append(("again.ogg", "rooster", "g11"))
    write_wav(str(root / "silent.wav"), np.zeros(16_000, dtype=np.float32))
    write_wav(str(root / "clipped.wav"), np.clip(6 * make_tone(210.0, seconds=1.0, noise=0.05, seed=99), -1, 1))
    write_wav(str(root / "short.wav"), make_tone(220.0, seconds=0.2, noise=0.05, seed=98))
    faults = ("silent.wav", "clipped.wav", "short.wav")
    return rows + [(name, "dog_bark", f"g{i}") for i, name in enumerate(faults)]


def as_dataset(root, rows):
    samples = [decode(root / name) for name, _, _ in rows]
    control = np.stack([log_mel_statistics(clip) for clip in samples])
    hashes = [np.frombuffer(hashlib.sha256((root / name).read_bytes()).digest(), dtype=np.uint8) for name, _, _ in rows]
    return Dataset(
        X=control.astype(np.float16),
        control=control,
        sources=tuple(Source(name, label=label, group=group) for name, label, group in rows),
        recipe=Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=(0,)),
        root=str(root),
        seconds=np.array([len(clip) / 16_000 for clip in samples]),
        hashes=np.stack(hashes),
    )


@pytest.fixture(scope="session")
def faulty(tmp_path_factory):
    root = tmp_path_factory.mktemp("faulty")
    return as_dataset(root, write_clips(root))
