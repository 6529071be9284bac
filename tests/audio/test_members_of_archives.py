"""Formats that are sought in and whose ends are looked at, read from an archive as from files."""

import tarfile

import numpy as np
import pytest

from embedx.audio.decode import decode
from embedx.audio.headers import read_duration
from embedx.errors import DecodeError


@pytest.mark.parametrize("ending", ["m4a", "opus", "webm", "mp3", "flac", "wav"])
def test_whole_in_pieces_and_cut_off(tmp_path, audio, ending):
    rng = np.random.default_rng(0)
    plain = audio.write(tmp_path / f"x.{ending}", audio.tone(8.0) + rng.normal(0, 0.05, 8 * 48_000))
    half = tmp_path / f"half.{ending}"
    half.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for path in (plain, half, plain):
            tar.add(path, path.name)
    member = tmp_path / "a.tar" / plain.name
    assert read_duration(member) == read_duration(plain)
    for start, stop in ((0.0, None), (0.5, 1.25), (6.1, None), (2.0, 3.0), (3.0, 4.0)):
        times = {"start_seconds": start, "stop_seconds": stop}
        assert np.array_equal(decode(member, **times), decode(plain, **times))
    told = []
    for path in (half, tmp_path / "a.tar" / half.name):
        with pytest.raises(DecodeError) as error:
            decode(path)
        told.append(str(error.value).replace(str(path), ""))
    assert told[0] == told[1]
