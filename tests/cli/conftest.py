"""What the tests of commands share."""

import signal

import pytest

from embedx.cli import main


@pytest.fixture
def in_time():
    """What waits for ever, such as for the reader of a pipe, is an error."""

    def stop(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def tone_model(tone_folder, tmp_path_factory):
    """A folder with a store of the tones, emb.h5, and a model of it."""
    folder = tmp_path_factory.mktemp("tone_model")
    store = str(folder / "emb.h5")
    assert main(["extract", str(tone_folder), "-o", store, "--encoder", "tiny", "--workers", "0"]) == 0
    assert main(["fit", store, "--head", "majority", "-o", str(folder / "model")]) == 0
    return folder
