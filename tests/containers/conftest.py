"""Folders of clips, and the same clips in tar archives and Parquet files."""

import io
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pack_tar():
    """``pack_tar(path, [(name, bytes), ...])`` writes an archive as tarfile does, and returns its path."""

    def pack(path, members):
        with tarfile.open(path, "w") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return str(path)

    return pack


@pytest.fixture(scope="session")
def clips(tone_folder):
    """The bytes of 24 clips, by class and name."""
    paths = sorted(Path(tone_folder).rglob("*.wav"))
    return {(path.parent.name, path.name): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def shards(tmp_path_factory, clips, pack_tar):
    """Three tar archives of the 24 clips, each with its label beside it; names are unique."""
    folder = tmp_path_factory.mktemp("shards")
    samples = [(f"{label}{name[0]}", label, content) for (label, name), content in clips.items()]
    for i in range(3):
        members = [
            member
            for key, label, content in samples[i::3]
            for member in ((f"{key}.wav", content), (f"{key}.cls", label.encode()))
        ]
        pack_tar(folder / f"{i:03}.tar", members)
    return folder


@pytest.fixture(scope="session")
def write_parquet():
    """``write_parquet(path, rows, names)`` writes rows of (bytes, path, label) as ``datasets`` does for the Hub."""
    datasets = pytest.importorskip("datasets", reason="needs datasets")

    def write(path, rows, names, **options):
        audio = [{"bytes": content, "path": name} for content, name, _ in rows]
        table = datasets.Dataset.from_dict({"audio": audio, "label": [names.index(label) for _, _, label in rows]})
        features = {"audio": datasets.Audio(decode=False), "label": datasets.ClassLabel(names=names)}
        table.cast(datasets.Features(features)).to_parquet(str(path), **options)
        return str(path)

    return write
