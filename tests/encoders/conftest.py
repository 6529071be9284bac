"""Small random encoders of every supported family, written as a user's checkpoint would lie on disk."""

import pytest

from tests.encoders.checkpoints import (
    AS_LONG_AS_REAL_ONES,
    FAMILIES,
    SMALL,
    WITH_FRONT_ENDS,
    write_checkpoint,
    write_other,
)


@pytest.fixture(scope="session", params=sorted(WITH_FRONT_ENDS.keys() - set(AS_LONG_AS_REAL_ONES)))
def other_checkpoint(request, tmp_path_factory):
    """(folder, transformers' own model) of one family with a front end of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_other(folder, request.param)


@pytest.fixture(scope="session", params=AS_LONG_AS_REAL_ONES)
def long_checkpoint(request, tmp_path_factory):
    """The same with the native window of the checkpoints that people use."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_other(folder, request.param)


@pytest.fixture(scope="session")
def make_other_checkpoint():
    """``make_other_checkpoint(folder, family, **config)`` -> transformers' own model."""
    return write_other


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def checkpoint(request, tmp_path_factory):
    """(folder, transformers' own model) of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_checkpoint(folder, request.param)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def wide_checkpoint(request, tmp_path_factory):
    """The same with layers of 128 numbers: of fewer, rounding shows in the angle."""
    folder = tmp_path_factory.mktemp(request.param)
    n_convs = len(FAMILIES[request.param][1].get("conv_dim", SMALL["conv_dim"]))
    return folder, write_checkpoint(folder, request.param, hidden_size=128, conv_dim=(64,) * n_convs)


@pytest.fixture(scope="session")
def make_checkpoint():
    """``make_checkpoint(folder, family, **config)`` -> transformers' own model."""
    return write_checkpoint
