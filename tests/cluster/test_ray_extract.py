"""``embedx extract --engine ray`` gives the file that ``embedx extract`` gives, whoever dies meanwhile."""

import numpy as np
import pytest

from embedx.store.store import read_store

pytestmark = pytest.mark.ray


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of 20 short WAV files, one that is no audio and one that is too short."""
    from embedx.testing import make_tone, write_wav

    root = tmp_path_factory.mktemp("clips")
    for i in range(20):
        write_wav(str(root / f"{i:02}.wav"), make_tone(200 + 40 * i, seconds=0.3 + 0.07 * i, seed=i))
    (root / "text.wav").write_text("this is no audio")
    write_wav(str(root / "short.wav"), make_tone(440, seconds=0.01))
    return root


def assert_same_store(one, other):
    """Everything but the environments."""
    a, b = read_store(one), read_store(other)
    assert a.recipe == b.recipe
    assert a.sources == b.sources
    assert a.errors == b.errors
    for name in ("status", "hashes", "row0", "n_rows", "embeddings", "control", "clip", "start_seconds", "end_seconds"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.fixture(scope="session")
def reference(clips, run_embedx, tmp_path_factory):
    """The store that the local engine writes."""
    store = tmp_path_factory.mktemp("local") / "emb.h5"
    done = run_embedx("extract", clips, "-o", store, "--encoder", "tiny")
    assert done.returncode == 3, done.stderr
    return store


@pytest.mark.parametrize("parts", ["driver", "worker"])
def test_ray_gives_the_file_that_local_gives(ray_cluster, clips, reference, run_embedx, tmp_path, parts):
    store = tmp_path / "emb.h5"
    words = ["extract", clips, "-o", store, "--encoder", "tiny", "--engine", "ray", "--address", ray_cluster.address]
    done = run_embedx(*words, "--parts", parts)
    assert done.returncode == 3, done.stderr
    assert_same_store(store, reference)
    again = run_embedx(*words)
    assert "nothing to compute" in again.stdout
