"""A comparison of real recordings whose labels and file names were chosen by an enemy."""

from dataclasses import replace

import numpy as np
import pytest

from embedx.audio.decode import decode
from embedx.comparison import compare
from embedx.dataset import Dataset
from embedx.encoders.logmel import log_mel_statistics
from embedx.encoders.short_names import KNOWN
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.testing import make_tone, write_wav

HOSTILE = ("</script><img src=x onerror=window.pwned=1>", "a\"'&<b onclick=window.pwned=1>", "plain $data ${x} \u2028")


def write_hostile_clips(root):
    rng, rows = np.random.default_rng(0), []
    for k, label in enumerate(HOSTILE):
        for i in range(12):
            name = f"<img src=x onerror=window.pwned=1> \"'& {k} {i}.wav"
            seconds = 14.0 if i == 0 else 0.8
            write_wav(str(root / name), make_tone((300.0, 360.0, 900.0)[k] * rng.uniform(0.7, 1.4), seconds=seconds))
            rows.append(Source(name, label=label, group=f"<i>{i}</i>"))
    return tuple(rows)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """(comparison, dataset) of 36 clips, two layers of log-mel statistics and noise."""
    root = tmp_path_factory.mktemp("hostile")
    sources = write_hostile_clips(root)
    samples = [decode(root / source.uri) for source in sources]
    control = np.stack([log_mel_statistics(clip) for clip in samples])
    noise = np.random.default_rng(1).normal(size=control.shape)
    dataset = Dataset(
        X=np.concatenate([control, noise], axis=1).astype(np.float32),
        control=control,
        sources=sources,
        recipe=Recipe(encoder="<u>tiny</u>", revision="bundled", weights_sha256="ab", layers=(0, 1)),
        root=str(root),
        seconds=np.array([len(clip) / 16_000 for clip in samples]),
        hashes=np.random.default_rng(2).integers(0, 256, (36, 32)).astype(np.uint8),
    )
    return compare(dataset, ["logreg", "knn"], folds=3, n_trials=2, auto=False), dataset


@pytest.fixture(scope="session")
def several_encoders(hostile):
    """(comparison, names) of the same clips by three encoders of different size, one of them named by an enemy."""
    _, dataset = hostile
    names = {"ast": "ast", "<img src=x onerror=window.pwned=1>": "w2v-bert", "clap": "clap"}
    repos = {name: KNOWN[known].repo for name, known in names.items()}
    stores = {
        name: replace(
            dataset,
            recipe=dataset.recipe.replace(encoder=repo),
            embedding_seconds=np.full(len(dataset), 0.1 * (i + 1)),
            store_bytes=10**6 * (i + 1),
        )
        for i, (name, repo) in enumerate(repos.items())
    }
    return compare(stores, ["knn"], folds=3, auto=False, curves=False), list(repos)
